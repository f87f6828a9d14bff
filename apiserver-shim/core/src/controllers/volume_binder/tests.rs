//! Binding, phases and reclaim policies.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rows::SELECTED_NODE;
use crate::{
    controllers::{ControllerCache, NewObject, Registration},
    testing::{TestCluster, stored},
};

fn controllers() -> [Registration; 1] {
    [Registration::new(VolumeBinder)]
}

fn cluster() -> TestCluster {
    TestCluster { now: 1_000, ..TestCluster::default() }
}

fn volume(name: &str, size: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"},
            "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    })
}

fn claim(name: &str, size: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "", "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    })
}

fn pod(name: &str, claim: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "containers": [{"name": "c"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}

fn class(name: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": mode})
}

fn of_class(mut object: Value, class: &str) -> Value {
    object["spec"]["storageClassName"] = json!(class);
    object
}

fn state(cluster: &TestCluster) -> Vec<String> {
    let text = |value: &Value, path: &[&str]| access::text(value, path).to_owned();
    let claims = cluster.all("persistentvolumeclaims").into_iter().map(|claim| {
        let name = text(claim, &["metadata", "name"]);
        format!("{name} {} {}", text(claim, &["status", "phase"]), text(claim, &["spec", "volumeName"]))
    });
    let volumes = cluster.all("persistentvolumes").into_iter().map(|volume| {
        let name = text(volume, &["metadata", "name"]);
        format!(
            "{name} {} {}",
            text(volume, &["status", "phase"]),
            text(volume, &["spec", "claimRef", "name"])
        )
    });
    claims.chain(volumes).map(|line| line.trim_end().to_owned()).collect()
}

/// The Events of one more reconcile of a claim.
fn events(cluster: &TestCluster, claim: &str) -> Vec<String> {
    let plan = cluster.reconcile(&VolumeBinder, &ObjectName::new(CLAIMS, "ns", claim));
    plan.events.into_iter().map(|event| format!("{}: {}", event.reason, event.message)).collect()
}

#[test]
fn the_smallest_volume_that_suits_is_bound() {
    let mut cluster = cluster();
    for (name, size) in [("large", "10Gi"), ("small", "1Gi"), ("middle", "3Gi")] {
        cluster.add(VOLUMES, volume(name, size));
    }
    cluster.add(CLAIMS, claim("data", "2Gi"));
    cluster.run(&controllers());
    assert_eq!(
        state(&cluster),
        ["data Bound middle", "large Available", "middle Bound data", "small Available"]
    );
    let bound = cluster.get("persistentvolumeclaims", "data");
    assert_eq!(bound["status"]["capacity"], json!({"storage": "3Gi"}));
    assert_eq!(bound["status"]["accessModes"], json!(["ReadWriteOnce"]));
    let annotations = &bound["metadata"]["annotations"];
    assert_eq!(
        (&annotations[BIND_COMPLETED], &annotations[BOUND_BY_CONTROLLER]),
        (&json!("yes"), &json!("yes"))
    );
}

#[test]
fn what_does_not_suit_is_not_bound() {
    let mut other_mode = volume("mode", "5Gi");
    other_mode["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
    let mut block = volume("block", "5Gi");
    block["spec"]["volumeMode"] = json!("Block");
    let mut cluster = cluster();
    for volume in [volume("small", "1Gi"), of_class(volume("class", "5Gi"), "fast"), other_mode, block] {
        cluster.add(VOLUMES, volume);
    }
    cluster.add(CLAIMS, claim("data", "2Gi"));
    cluster.run(&controllers());
    assert_eq!(state(&cluster)[0], "data Pending");
    let why = "FailedBinding: no persistent volumes available for this claim and no storage class is set";
    assert_eq!(events(&cluster, "data"), [why]);
    cluster.add(VOLUMES, volume("right", "2Gi"));
    cluster.run(&controllers());
    assert_eq!(state(&cluster)[0], "data Bound right");
}

/// Another class is the only thing that a reserved volume may have.
#[test]
fn a_reserved_volume_must_suit_but_for_its_class() {
    let reserved = |mut volume: Value| {
        volume["spec"]["claimRef"] = json!({"namespace": "ns", "name": "data"});
        of_class(volume, "fast")
    };
    let mut block = reserved(volume("a-block", "5Gi"));
    block["spec"]["volumeMode"] = json!("Block");
    let mut once = reserved(volume("b-mode", "5Gi"));
    once["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
    let mut cluster = cluster();
    for volume in [block, once] {
        cluster.add(VOLUMES, volume);
    }
    cluster.add(CLAIMS, claim("data", "2Gi"));
    cluster.run(&controllers());
    assert_eq!(state(&cluster)[0], "data Pending");
    cluster.add(VOLUMES, reserved(volume("right", "3Gi")));
    cluster.run(&controllers());
    assert_eq!(state(&cluster)[0], "data Bound right");
}

#[test]
fn a_volume_is_taken_once() {
    let mut taken = volume("v", "1Gi");
    let reference = |name: &str, uid: &str| json!({"namespace": "ns", "name": name, "uid": uid});
    assert!(claim_volume(&mut taken, &reference("a", "1")));
    assert!(!claim_volume(&mut taken, &reference("b", "2")));
    assert!(!claim_volume(&mut taken, &reference("a", "1")));
    assert_eq!(taken["spec"]["claimRef"]["uid"], "1");
    let mut reserved = volume("v", "1Gi");
    reserved["spec"]["claimRef"] = json!({"namespace": "ns", "name": "a"});
    assert!(!claim_volume(&mut reserved, &reference("b", "2")));
    assert!(claim_volume(&mut reserved, &reference("a", "1")));
    assert!(reserved["metadata"].get("annotations").is_none(), "its maker has chosen the claim");
}

#[test]
fn a_claim_can_name_its_volume() {
    let mut cluster = cluster();
    cluster.add(VOLUMES, volume("v", "1Gi"));
    let mut large = claim("large", "2Gi");
    large["spec"]["volumeName"] = json!("v");
    cluster.add(CLAIMS, large);
    cluster.run(&controllers());
    assert_eq!(
        events(&cluster, "large"),
        ["VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small"]
    );
    let mut right = claim("right", "1Gi");
    right["spec"]["volumeName"] = json!("v");
    cluster.add(CLAIMS, right);
    cluster.run(&controllers());
    assert_eq!(state(&cluster), ["large Pending v", "right Bound v", "v Bound right"]);
    assert_eq!(
        events(&cluster, "large"),
        ["FailedBinding: volume \"v\" already bound to a different claim."]
    );
}

#[test]
fn a_released_volume_follows_its_policy() {
    for (policy, phase) in [("Retain", "Released"), ("Delete", "Failed"), ("Recycle", "Failed")] {
        let mut cluster = cluster();
        let mut made = volume("v", "1Gi");
        made["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
        cluster.add(VOLUMES, made);
        cluster.add(CLAIMS, claim("data", "1Gi"));
        cluster.run(&controllers());
        cluster.objects.remove(&("persistentvolumeclaims".to_owned(), Key::new("ns", "data")));
        cluster.run(&controllers());
        assert_eq!(state(&cluster), [format!("v {phase} data")], "{policy}");
        // Another claim of the same name does not get the data.
        cluster.add(CLAIMS, claim("data", "1Gi"));
        cluster.run(&controllers());
        assert_eq!(state(&cluster)[0], "data Pending", "{policy}");
    }
}

#[test]
fn a_claim_without_its_volume_is_lost() {
    let mut cluster = cluster();
    cluster.add(VOLUMES, volume("v", "1Gi"));
    cluster.add(CLAIMS, claim("data", "1Gi"));
    cluster.run(&controllers());
    cluster.objects.remove(&("persistentvolumes".to_owned(), Key::new("", "v")));
    cluster.run(&controllers());
    assert_eq!(state(&cluster), ["data Lost v"]);
}

#[test]
fn a_claim_waits_for_its_first_consumer_and_its_nodes() {
    let mut cluster = cluster();
    cluster.add(CLASSES, class("local", "WaitForFirstConsumer"));
    for node in ["n1", "n2"] {
        cluster.add(served("", "nodes"), json!({"metadata": {"name": node, "labels": {"host": node}}}));
        let mut local = of_class(volume(&format!("on-{node}"), "1Gi"), "local");
        local["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "host", "operator": "In", "values": [node]}]}]}});
        cluster.add(VOLUMES, local);
    }
    cluster.add(CLAIMS, of_class(claim("data", "1Gi"), "local"));
    cluster.run(&controllers());
    assert_eq!(state(&cluster)[0], "data Pending");
    let waiting = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    assert_eq!(events(&cluster, "data"), [waiting]);
    let mut consumer = pod("p", "data");
    consumer["spec"]["nodeSelector"] = json!({"host": "n2"});
    cluster.add(served("", "pods"), consumer);
    cluster.run(&controllers());
    assert_eq!(state(&cluster), ["data Bound on-n2", "on-n1 Available", "on-n2 Bound data"]);
}

/// A volume is matched when its phase is Available, so the claims are tried again then.
/// Once the scheduler has chosen a node for it, an external provisioner finds the claim.
#[test]
fn a_claim_with_a_selected_node_is_provisioned() {
    let mut cluster = cluster();
    cluster.add(CLASSES, class("local", "WaitForFirstConsumer"));
    let key = cluster.add(CLAIMS, of_class(claim("c", "1Gi"), "local"));
    cluster.add(served("", "pods"), pod("p", "c"));
    cluster.run(&controllers());
    let provisioner = |cluster: &TestCluster| {
        let claim = cluster.get("persistentvolumeclaims", "c");
        access::text(claim, &["metadata", "annotations", "volume.kubernetes.io/storage-provisioner"])
            .to_owned()
    };
    assert_eq!(provisioner(&cluster), "");
    let stored = cluster.objects.get_mut(&("persistentvolumeclaims".to_owned(), key)).unwrap();
    stored["metadata"]["annotations"][SELECTED_NODE] = json!("n1");
    cluster.run(&controllers());
    assert_eq!(provisioner(&cluster), cluster.all("storageclasses")[0]["provisioner"].as_str().unwrap());
}

#[test]
fn a_volume_that_becomes_available_concerns_the_claims_of_its_class() {
    let mut cluster = cluster();
    cluster.add(CLAIMS, claim("data", "1Gi"));
    cluster.add(CLAIMS, of_class(claim("other", "1Gi"), "fast"));
    cluster.add(VOLUMES, volume("v", "1Gi"));
    let mut cache = cluster.cache();
    let put = |cache: &mut ControllerCache, phase: &str| {
        let mut value = cluster.objects[&("persistentvolumes".to_owned(), Key::new("", "v"))].clone();
        value["status"]["phase"] = json!(phase);
        let object = stored(&value);
        let view = cache.decoder().decode(&VOLUMES, &object, 2).unwrap();
        cache.put(&VOLUMES, NewObject { object, revision: 2, view }, 1_000)
    };
    let keys = |cache: &ControllerCache, change: &ObjectChange| {
        let mut keys = Keys::new();
        VolumeBinder.keys(change, &View::new(cache, 1_000, None), &mut keys);
        keys.into_iter().map(|key| key.key.name.to_string()).collect::<Vec<_>>()
    };
    let change = put(&mut cache, "Available");
    assert_eq!(keys(&cache, &change), ["data", "v"]);
    let change = put(&mut cache, "Available");
    assert_eq!(keys(&cache, &change), ["v"], "nothing has changed");
}

#[test]
fn classes_decide_who_makes_a_volume() {
    let mut cluster = cluster();
    cluster.add(CLAIMS, of_class(claim("data", "1Gi"), "fast"));
    cluster.run(&controllers());
    assert_eq!(
        events(&cluster, "data"),
        ["ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found"]
    );
    let mut fast = class("fast", "Immediate");
    fast["provisioner"] = json!("csi.example.com");
    fast["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    cluster.add(CLASSES, fast);
    let mut plain = claim("plain", "1Gi");
    plain["spec"].as_object_mut().unwrap().remove("storageClassName");
    cluster.add(CLAIMS, plain);
    cluster.run(&controllers());
    for name in ["data", "plain"] {
        let claim = cluster.get("persistentvolumeclaims", name);
        assert_eq!(claim["spec"]["storageClassName"], "fast");
        let annotations = &claim["metadata"]["annotations"];
        assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], "csi.example.com");
        assert!(events(&cluster, name)[0].starts_with("ExternalProvisioning: Waiting for a volume"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is there: the controller comes to an end, and no volume has two claims.
    #[test]
    fn no_volume_is_bound_twice(
        volumes in proptest::collection::vec((1u8..4, any::<bool>(), 0u8..3), 0..5),
        claims in proptest::collection::vec((1u8..4, any::<bool>(), proptest::option::of(0usize..5)), 0..5),
        lost in proptest::collection::vec((any::<bool>(), 0usize..5), 0..4),
    ) {
        let mut cluster = cluster();
        for (at, (size, fast, policy)) in volumes.iter().enumerate() {
            let mut made = volume(&format!("v{at}"), &format!("{size}Gi"));
            made["spec"]["persistentVolumeReclaimPolicy"] = json!(["Retain", "Delete", "Recycle"][usize::from(*policy)]);
            cluster.add(VOLUMES, if *fast { of_class(made, "fast") } else { made });
        }
        for (at, (size, fast, wants)) in claims.iter().enumerate() {
            let mut made = claim(&format!("c{at}"), &format!("{size}Gi"));
            if let Some(wants) = wants {
                made["spec"]["volumeName"] = json!(format!("v{wants}"));
            }
            cluster.add(CLAIMS, if *fast { of_class(made, "fast") } else { made });
        }
        cluster.run(&controllers());
        for (is_claim, at) in lost {
            let place = if is_claim {
                ("persistentvolumeclaims".to_owned(), Key::new("ns", &format!("c{at}")))
            } else {
                ("persistentvolumes".to_owned(), Key::new("", &format!("v{at}")))
            };
            cluster.objects.remove(&place);
            cluster.run(&controllers());
        }
        let bound: Vec<&str> = cluster
            .all("persistentvolumeclaims")
            .into_iter()
            .filter(|claim| access::text(claim, &["status", "phase"]) == "Bound")
            .map(|claim| access::text(claim, &["spec", "volumeName"]))
            .collect();
        let distinct: std::collections::BTreeSet<&&str> = bound.iter().collect();
        prop_assert_eq!(distinct.len(), bound.len());
        for name in bound {
            let volume = &cluster.objects[&("persistentvolumes".to_owned(), Key::new("", name))];
            prop_assert_eq!(access::text(volume, &["status", "phase"]), "Bound");
        }
    }
}
