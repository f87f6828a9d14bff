//! Each rule by itself, and the text of each reason.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shim_model::access;

use super::*;
use crate::{
    rows::{Node, Pod},
    scheduler::{
        Amounts, DelayingClass, Held, HostPort, NodeInfo, Outcome, PendingPod, PodShape, Preemption, Reason,
        Report, Scheduler, Volume, VolumeClaim,
        framework::{NOTHING_PLACED, NodeView, PodContext},
        testing::{Cluster, Offers},
        volumes::VolumeCache,
    },
    testing::{self, stored},
};

fn node_of(node: Value) -> Arc<Node> {
    let mut value = json!({"metadata": {"name": "n1", "labels": {"zone": "a", "size": "7"}}});
    value.as_object_mut().unwrap().extend(node.as_object().unwrap().clone());
    Arc::new(Node::decode(stored(&value), 1, &value))
}

fn total() -> Amounts {
    Amounts { cpu_milli: 2000, memory: 1 << 30, ..Amounts::default() }
}

fn node(value: Value) -> NodeInfo {
    let mut info = NodeInfo::new(node_of(value), 110);
    info.allocatable = total();
    info
}

fn pod_named(name: &str, spec: &Value) -> PendingPod {
    let value = json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": spec});
    PendingPod::new(Arc::new(testing::pod(&value)), "k8s/ns".into(), 0)
}

fn pod(spec: Value) -> PendingPod {
    pod_named("p", &spec)
}

fn check(spec: Value, node: Value, expected: Expect) {
    let mut cluster = Cluster::default();
    cluster.nodes.put_node(node_of(node), 110);
    let capacity = crate::scheduler::NodeCapacity { allocatable: total(), ..Default::default() };
    cluster.nodes.put_capacity("n1", capacity);
    cluster.offers.free.insert(("n1".to_owned(), "k8s/ns".to_owned()), total());
    let decisions = cluster.decide_with(&mut Scheduler::default(), &[pod(spec)]);
    let verdict = match &decisions[0].outcome {
        Outcome::Wait(report) => report.reasons.keys().next().unwrap().to_string(),
        _ => "fits".to_owned(),
    };
    expected.assert_eq(&verdict);
}

#[test]
fn selectors() {
    check(json!({"nodeSelector": {"zone": "a"}}), json!({}), expect!["fits"]);
    check(
        json!({"nodeSelector": {"zone": "b"}}),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    let terms = |t: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": t}}}});
    let expression = |operator: &str, values: Value| json!([{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]);
    check(terms(expression("Gt", json!(["6"]))), json!({}), expect!["fits"]);
    check(
        terms(expression("Lt", json!(["6"]))),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    check(
        terms(expression("NotIn", json!(["7"]))),
        json!({}),
        expect!["node(s) didn't match Pod's node affinity/selector"],
    );
    check(terms(json!([{}])), json!({}), expect!["node(s) didn't match Pod's node affinity/selector"]);
    let by_name = |name: &str| {
        terms(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]))
    };
    check(by_name("n1"), json!({}), expect!["fits"]);
    check(by_name("n2"), json!({}), expect!["node(s) didn't match Pod's node affinity/selector"]);
}

#[test]
fn taints_and_cordons() {
    let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    check(json!({}), tainted.clone(), expect!["node(s) had untolerated taint {k: v}"]);
    check(json!({"tolerations": [{"key": "k", "value": "v"}]}), tainted.clone(), expect!["fits"]);
    check(
        json!({"tolerations": [{"key": "k", "value": "w"}]}),
        tainted.clone(),
        expect!["node(s) had untolerated taint {k: v}"],
    );
    check(json!({"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}]}), tainted, expect!["fits"]);
    let cordoned = json!({"spec": {"unschedulable": true}});
    check(json!({}), cordoned.clone(), expect!["node(s) were unschedulable"]);
    check(json!({"tolerations": [{"operator": "Exists"}]}), cordoned, expect!["fits"]);
    let preferred = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    check(json!({}), preferred, expect!["fits"]);
}

#[test]
fn room() {
    let asks = |cpu: &str| pod(json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]}));
    let explain = |cpu: &str, info: &NodeInfo| {
        let (pod, lister) = (asks(cpu), Offers::default());
        let context = PodContext { pod: &pod, charge: &pod.pod.shape.charge() };
        let view = NodeView {
            info,
            placed: &NOTHING_PLACED,
            offered: None,
            class_pods: 0,
            leaves_room: false,
            lister: &lister,
        };
        let refusal = node_resources_fit::refusal(&context, &view);
        let reasons =
            refusal.into_iter().flat_map(|refusal| [refusal.reason].into_iter().chain(refusal.more));
        reasons.map(|reason| reason.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut busy = node(json!({}));
    expect!["Insufficient cpu"].assert_eq(&explain("3", &busy));
    expect![""].assert_eq(&explain("2", &busy));
    busy.held = Held { amounts: Amounts { cpu_milli: 1500, ..Amounts::default() }, by: vec!["spark".into()] };
    expect!["node(s) had cpu held by spark"].assert_eq(&explain("1", &busy));
    expect!["Insufficient cpu"].assert_eq(&explain("3", &busy));
    busy.pods_max = 0;
    expect!["Too many pods"].assert_eq(&explain("100m", &busy));
}

#[test]
fn node_admission_rejects_pods_bound_by_clients() {
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let bound = |name: &str, mut spec: Value| {
        spec["nodeName"] = json!("n1");
        pod_named(name, &spec)
    };
    let asks = |cpu: &str| json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]});
    // The Pod is among the node's Pods, as are those in `aside`.
    let full = |pods: &[&PendingPod]| {
        let mut info = node(ready.clone());
        pods.iter().for_each(|pod| info.add_pod(pod.pod.clone()));
        info
    };
    let refused = |pod: &PendingPod, info: &NodeInfo, aside: &[&PendingPod]| {
        node_admission::refuse(pod, info, aside.iter().map(|pod| &*pod.pod))
            .map_or_else(|| "taken".to_owned(), |r| format!("{}: {}", r.reason, r.message))
    };
    let (one, two) = (bound("one", asks("1500m")), bound("two", asks("1")));
    expect!["taken"].assert_eq(&refused(&one, &full(&[&one]), &[]));
    expect!["OutOfcpu: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"]
        .assert_eq(&refused(&two, &full(&[&one, &two]), &[]));
    expect!["taken"].assert_eq(&refused(&one, &full(&[&one, &two]), &[&two]));
    let mut crowded = full(&[&two]);
    for n in 0..110 {
        let none: Arc<Pod> = pod_named(&format!("other-{n}"), &json!({})).pod;
        crowded.add_pod(none);
    }
    expect!["OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"]
        .assert_eq(&refused(&two, &crowded, &[]));
    let elsewhere = bound("elsewhere", json!({"nodeSelector": {"zone": "b"}}));
    expect!["NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"]
        .assert_eq(&refused(&elsewhere, &full(&[&elsewhere]), &[]));
    let port =
        |name| bound(name, json!({"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}));
    let (first, second) = (port("first"), port("second"));
    expect!["taken"].assert_eq(&refused(&first, &full(&[&first]), &[]));
    expect![
        "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    ]
    .assert_eq(&refused(&first, &full(&[&first, &second]), &[]));
    expect!["taken"].assert_eq(&refused(&two, &node(json!({})), &[]));
}

#[test]
fn preemption_is_reported_in_upstreams_words() {
    let mut report = Report { nodes: 3, ..Report::default() };
    report.reasons.insert(Reason::Insufficient("cpu".into()), 2);
    report.reasons.insert(Reason::NodeSelector, 1);
    let counts = [
        ("Preemption is not helpful for scheduling", 1),
        ("No preemption victims found for incoming pod", 2),
    ];
    report.preemption =
        Some(Preemption::NoCandidates(counts.map(|(text, count)| (text.into(), count)).into()));
    expect!["0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."].assert_eq(&report.to_string());
    report.preemption = Some(Preemption::NotEligible("not eligible due to preemptionPolicy=Never."));
    expect!["0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."].assert_eq(&report.to_string());
}

#[test]
fn init_containers_count_at_their_peak() {
    let with = |cpu: &str, policy: Option<&str>| json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy});
    let spec = json!({
        "initContainers": [with("100m", Some("Always")), with("900m", None)],
        "containers": [with("200m", None), with("300m", None)],
        "overhead": {"cpu": "10m"},
    });
    assert_eq!(PodShape::decode(&spec, "p").requests.cpu_milli, 1010);
}

#[test]
fn host_ports_conflict_by_address_and_protocol() {
    let port = |port, protocol: &str, ip: &str| HostPort { port, protocol: protocol.into(), ip: ip.into() };
    assert!(port(80, "TCP", "").conflicts_with(&port(80, "TCP", "10.0.0.1")));
    assert!(!port(80, "TCP", "10.0.0.2").conflicts_with(&port(80, "TCP", "10.0.0.1")));
    assert!(!port(80, "TCP", "").conflicts_with(&port(80, "UDP", "")));
}

#[test]
fn every_reason_has_its_text() {
    let mut report = Report { nodes: 9, ..Report::default() };
    let reasons = [
        Reason::Unschedulable,
        Reason::Insufficient("cpu".into()),
        Reason::TooManyPods,
        Reason::NodeSelector,
        Reason::HostPorts,
        Reason::RuntimeMissing { lacking: "containerd runc".into() },
        Reason::HeldBy { resource: "memory".into(), frameworks: vec!["marathon".into(), "spark".into()] },
        Reason::NoOffer { role: "k8s/ns".into() },
        Reason::Taint { key: "k".into(), value: "".into() },
    ];
    for reason in reasons {
        report.reasons.insert(reason, 1);
    }
    expect!["0/9 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had memory held by marathon, spark, 1 node(s) had untolerated taint {k: }, 1 node(s) lacked what containers need (on Debian: apt-get install containerd runc, then restart the agent), 1 node(s) made no offer in role k8s/ns (fair share, quota or filter), 1 node(s) were unschedulable."].assert_eq(&report.to_string());
    expect!["no nodes available to schedule pods"].assert_eq(&Report::default().to_string());
}

fn message_of(pending: PendingPod) -> String {
    let mut cluster = Cluster::default();
    cluster.nodes.put_node(node_of(json!({})), 110);
    let capacity = crate::scheduler::NodeCapacity { allocatable: total(), ..Default::default() };
    cluster.nodes.put_capacity("n1", capacity);
    let decisions = cluster.decide_with(&mut Scheduler::default(), &[pending]);
    match &decisions[0].outcome {
        Outcome::Wait(report) => report.to_string(),
        _ => "fits".to_owned(),
    }
}

/// No claims are served yet: a Pod that needs one is not placed as if it needed none.
#[test]
fn device_claims_that_do_not_exist() {
    let table = [
        message_of(pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "mine"}]}))),
        message_of(pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}))),
    ];
    expect![[r#"
        0/1 nodes are available: resourceclaim "mine" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.
        0/1 nodes are available: waiting for resource claim controller to create the resourceclaim of "gpu". preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."#]].assert_eq(&table.join("\n"));
}

fn volumes() -> VolumeCache {
    let mut cache = VolumeCache::default();
    let bound = |volume: &str| {
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": volume}, "status": {"phase": "Bound"},
        })
    };
    let owned = |uid: &str| {
        let owner = json!({"kind": "Pod", "name": "p", "uid": uid, "controller": true});
        json!({"metadata": {"ownerReferences": [owner]}, "spec": {"storageClassName": "now"}})
    };
    let claims = [
        ("unbound", json!({"spec": {"storageClassName": "now"}})),
        ("of-absent-class", json!({"spec": {"storageClassName": "none"}})),
        ("reserved", json!({"spec": {"storageClassName": "late", "volumeName": "everywhere"}})),
        ("delayed", json!({"spec": {"storageClassName": "late"}})),
        ("to-make", json!({"spec": {"storageClassName": "made"}})),
        ("to-make-in-b", json!({"spec": {"storageClassName": "made-in-b"}})),
        (
            "being-made",
            json!({
                "metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n7"}}, "spec": {"storageClassName": "made"},
            }),
        ),
        ("lost", json!({"spec": {"volumeName": "gone"}, "status": {"phase": "Lost"}})),
        ("deleting", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        ("on-everywhere", bound("everywhere")),
        ("on-zone-b", bound("zone-b")),
        ("on-nothing", bound("nothing")),
        ("p-strange", owned("other")),
        ("p-own", owned("p")),
    ];
    for (name, claim) in claims {
        cache.put_claim("ns", name, Some(VolumeClaim::decode(&claim)));
    }
    let zone_b = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
    ]}}}});
    cache.put_volume("everywhere", Some(Volume::decode(&json!({"spec": {}}))));
    cache.put_volume("zone-b", Some(Volume::decode(&zone_b)));
    let class = |provisioner: &str, zones: Value| {
        let expressions = json!([{"key": "zone", "values": zones}]);
        let mut class = json!({"provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
        if zones.is_array() {
            class["allowedTopologies"] = json!([{"matchLabelExpressions": expressions}]);
        }
        DelayingClass::decode(&class)
    };
    let now = json!({"provisioner": "a.b/c", "volumeBindingMode": "Immediate"});
    cache.put_class("now", DelayingClass::decode(&now));
    cache.put_class("late", class("kubernetes.io/no-provisioner", Value::Null));
    cache.put_class("made", class("a.b/c", Value::Null));
    cache.put_class("made-in-b", class("a.b/c", json!(["b", "c"])));
    cache
}

/// Each case of a claim has upstream's reason.
#[test]
fn claims_of_volumes() {
    let cache = volumes();
    let claim = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
    let ephemeral = |name: &str| json!({"name": name, "ephemeral": {}});
    let cases = [
        vec![claim("absent")],
        vec![claim("unbound"), claim("absent")],
        vec![claim("unbound")],
        vec![claim("of-absent-class")],
        vec![claim("reserved")],
        vec![claim("delayed")],
        vec![claim("to-make")],
        vec![claim("to-make-in-b")],
        vec![claim("being-made")],
        vec![claim("lost")],
        vec![claim("deleting")],
        vec![claim("on-nothing")],
        vec![claim("on-zone-b")],
        vec![claim("on-zone-b"), claim("delayed")],
        vec![claim("on-everywhere")],
        vec![ephemeral("none")],
        vec![ephemeral("strange")],
        vec![ephemeral("own")],
    ];
    let reason = |volumes: &Vec<Value>| {
        let mut pending = pod(json!({"volumes": volumes}));
        pending.volumes = cache.of(&pending.pod);
        let message = message_of(pending);
        let names = volumes.iter().map(|volume| match volume.get("ephemeral") {
            Some(_) => access::text(volume, &["name"]),
            None => access::text(volume, &["persistentVolumeClaim", "claimName"]),
        });
        let reason = message.trim_start_matches("0/1 nodes are available: ");
        let reason = reason.split(". preemption:").next().unwrap();
        format!("{}: {reason}", names.collect::<Vec<_>>().join(", "))
    };
    let table: Vec<String> = cases.iter().map(reason).collect();
    expect![[r#"
        absent: persistentvolumeclaim "absent" not found
        unbound, absent: persistentvolumeclaim "absent" not found
        unbound: pod has unbound immediate PersistentVolumeClaims
        of-absent-class: pod has unbound immediate PersistentVolumeClaims
        reserved: pod has unbound immediate PersistentVolumeClaims
        delayed: 1 node(s) didn't find available persistent volumes to bind
        to-make: 1 node(s) made no offer in role k8s/ns (fair share, quota or filter)
        to-make-in-b: 1 node(s) didn't find available persistent volumes to bind
        being-made: waiting for the volume of persistentvolumeclaim "being-made" to be provisioned for node "n7"
        lost: persistentvolumeclaim "lost" bound to non-existent persistentvolume "gone"
        deleting: persistentvolumeclaim "deleting" is being deleted
        on-nothing: 1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)
        on-zone-b: 1 node(s) didn't match PersistentVolume's node affinity
        on-zone-b, delayed: 1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't match PersistentVolume's node affinity
        on-everywhere: 1 node(s) made no offer in role k8s/ns (fair share, quota or filter)
        none: waiting for ephemeral volume controller to create the persistentvolumeclaim "p-none"
        strange: PVC ns/p-strange was not created for pod ns/p (pod is not owner)
        own: pod has unbound immediate PersistentVolumeClaims"#]].assert_eq(&table.join("\n"));
    let mut elsewhere = pod(json!({"volumes": [claim("unbound")]}));
    elsewhere.volumes = VolumeCache::default().of(&elsewhere.pod);
    assert!(message_of(elsewhere).contains("\"unbound\" not found"));
}
