//! Placement and rollouts of DaemonSets, step by step and at random.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::*;
use crate::{
    controllers::{ControllerCache, ControllerConfig, NewObject, all},
    rows::{Key, rfc3339},
    testing::{TestCluster, builtin_resources, stored},
};

#[path = "tests/random.rs"]
mod random;

const NOW: Seconds = 10_000;

fn name() -> ObjectName {
    ObjectName::new(served("apps", "daemonsets"), "ns", "agent")
}

fn daemon_set(unavailable: Value, surge: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {
            "name": "agent", "namespace": "ns",
            "annotations": {"deprecated.daemonset.template.generation": "1"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "revisionHistoryLimit": 2,
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
            },
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": "agent:1"}]},
            },
        },
    })
}

fn node(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {}, "status": {}})
}

fn cluster(nodes: usize, set: Value) -> TestCluster {
    let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
    for at in 1..=nodes {
        cluster.add(served("", "nodes"), node(&format!("n{at}")));
    }
    cluster.add(served("apps", "daemonsets"), set);
    cluster
}

/// One reconcile. Returns whether it planned anything.
fn step(cluster: &mut TestCluster) -> bool {
    let plan = cluster.reconcile(&DaemonSetController, &name());
    cluster.apply(&plan);
    !plan.is_empty()
}

fn settle(cluster: &mut TestCluster) {
    for _ in 0..20 {
        if !step(cluster) {
            return;
        }
    }
    panic!("does not come to an end");
}

fn make_ready(cluster: &mut TestCluster, pod: &str) {
    let now = rfc3339(cluster.now);
    cluster.edit("pods", pod, |pod| {
        let terms = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
        let terms = &access::get(&pod["spec"], &terms).unwrap()["nodeSelectorTerms"];
        pod["spec"]["nodeName"] = terms[0]["matchFields"][0]["values"][0].clone();
        pod["status"] = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        });
    });
}

fn ready_all(cluster: &mut TestCluster) {
    for pod in cluster.pods().iter().filter(|pod| !pod.is_ready()) {
        make_ready(cluster, &pod.header().name);
    }
}

fn set_image(cluster: &mut TestCluster, image: &str) {
    cluster.edit("daemonsets", "agent", |set| {
        let template = &mut set["spec"]["template"]["spec"]["containers"][0];
        if template["image"] != image {
            template["image"] = json!(image);
            let annotation = &mut set["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
            *annotation = (annotation.as_str().unwrap().parse::<i64>().unwrap() + 1).to_string().into();
        }
    });
}

/// The Pods by node, the counts and the revisions.
fn check(cluster: &TestCluster, expected: Expect) {
    let mut lines = Vec::new();
    for value in cluster.all("pods") {
        let pod = crate::testing::pod(value);
        let image = access::text(&value["spec"]["containers"][0], &["image"]);
        let ready = if pod.is_ready() { "ready" } else { "-" };
        lines.push(format!("{} {image} {ready}", target_node(&pod).unwrap_or("?")));
    }
    lines.sort();
    let status = &cluster.get("daemonsets", "agent")["status"];
    let count = |name: &str| access::int(status, &[name]).unwrap_or(0);
    lines.push(format!(
        "desired {} current {} ready {} updated {} available {} unavailable {} misscheduled {}",
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        count("numberUnavailable"),
        count("numberMisscheduled"),
    ));
    let mut revisions: Vec<String> = cluster
        .all("controllerrevisions")
        .into_iter()
        .map(|revision| {
            let template = &revision["data"]["spec"]["template"];
            format!(
                "r{} {}",
                revision["revision"],
                access::text(&template["spec"]["containers"][0], &["image"])
            )
        })
        .collect();
    revisions.sort();
    lines.extend(revisions);
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn every_node_gets_a_pod() {
    let mut cluster = cluster(2, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    ready_all(&mut cluster);
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:1 ready
            n2 agent:1 ready
            desired 2 current 2 ready 2 updated 2 available 2 unavailable 0 misscheduled 0
            r1 agent:1
        "#]],
    );
    let pod = cluster.all("pods")[0].clone();
    let hash = access::text(&pod, &["metadata", "labels", REVISION_LABEL]).to_owned();
    assert_eq!(cluster.all("controllerrevisions")[0]["metadata"]["name"], format!("agent-{hash}"));
    assert_eq!(pod["metadata"]["labels"][GENERATION_LABEL], "1");
    assert_eq!(access::list(&pod, &["spec", "tolerations"]).len(), 6);
    cluster.add(served("", "nodes"), node("n3"));
    settle(&mut cluster);
    assert_eq!(cluster.pods().len(), 3);
}

#[test]
fn taints_and_labels_decide_where_pods_run() {
    let taint = |effect: &str| json!({"taints": [{"key": "own", "effect": effect}]});
    let set = |edit: fn(&mut Value)| {
        let mut set = daemon_set(json!(1), json!(0));
        edit(&mut set["spec"]["template"]["spec"]);
        set
    };
    let affinity = |spec: &mut Value| {
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]}}});
    };
    let fit = |spec: &Value, edit: fn(&mut Value)| {
        let mut node = node("n1");
        node["spec"] = spec.clone();
        let set = <DaemonSet as crate::rows::ObjectView>::parse(&stored(&set(edit)), 1).unwrap();
        let node = <Node as crate::rows::ObjectView>::parse(&stored(&node), 1).unwrap();
        let fit = eligibility::of(&set, &node);
        (fit.should_run, fit.should_stay)
    };
    let plain = |_: &mut Value| {};
    assert_eq!(fit(&json!({}), plain), (true, true));
    assert_eq!(fit(&json!({"unschedulable": true}), plain), (true, true));
    let cordon = json!({"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]});
    assert_eq!(fit(&cordon, plain), (true, true));
    let lost = json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]});
    assert_eq!(fit(&lost, plain), (true, true));
    assert_eq!(fit(&taint("NoSchedule"), plain), (false, true));
    assert_eq!(fit(&taint("NoExecute"), plain), (false, false));
    assert_eq!(fit(&taint("PreferNoSchedule"), plain), (true, true));
    let tolerates = |spec: &mut Value| spec["tolerations"] = json!([{"key": "own", "operator": "Exists"}]);
    assert_eq!(fit(&taint("NoExecute"), tolerates), (true, true));
    assert_eq!(fit(&json!({}), |spec| spec["nodeSelector"] = json!({"disk": "ssd"})), (false, false));
    assert_eq!(fit(&json!({}), |spec| spec["nodeName"] = json!("n2")), (false, false));
    assert_eq!(fit(&json!({}), affinity), (false, false));
}

#[test]
fn a_pod_is_removed_from_a_node_that_no_longer_fits() {
    let mut cluster = cluster(2, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    ready_all(&mut cluster);
    let taint = |cluster: &mut TestCluster, effect: &str| {
        let key = ("nodes".to_owned(), Key::new("", "n1"));
        cluster.objects.get_mut(&key).unwrap()["spec"]["taints"] = json!([{"key": "own", "effect": effect}]);
    };
    taint(&mut cluster, "NoSchedule");
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:1 ready
            n2 agent:1 ready
            desired 1 current 1 ready 1 updated 1 available 1 unavailable 0 misscheduled 1
            r1 agent:1
        "#]],
    );
    taint(&mut cluster, "NoExecute");
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n2 agent:1 ready
            desired 1 current 1 ready 1 updated 1 available 1 unavailable 0 misscheduled 0
            r1 agent:1
        "#]],
    );
}

#[test]
fn an_update_replaces_pods_and_can_be_undone() {
    let mut cluster = cluster(3, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    ready_all(&mut cluster);
    settle(&mut cluster);
    set_image(&mut cluster, "agent:2");
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:2 -
            n2 agent:1 ready
            n3 agent:1 ready
            desired 3 current 3 ready 2 updated 1 available 2 unavailable 1 misscheduled 0
            r1 agent:1
            r2 agent:2
        "#]],
    );
    for _ in 0..3 {
        ready_all(&mut cluster);
        settle(&mut cluster);
    }
    // What `kubectl rollout undo` does: the old template comes back, and its revision becomes the newest.
    set_image(&mut cluster, "agent:1");
    for _ in 0..4 {
        settle(&mut cluster);
        ready_all(&mut cluster);
    }
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:1 ready
            n2 agent:1 ready
            n3 agent:1 ready
            desired 3 current 3 ready 3 updated 3 available 3 unavailable 0 misscheduled 0
            r2 agent:2
            r3 agent:1
        "#]],
    );
    for image in ["agent:3", "agent:4", "agent:5"] {
        set_image(&mut cluster, image);
        for _ in 0..4 {
            settle(&mut cluster);
            ready_all(&mut cluster);
        }
        settle(&mut cluster);
    }
    let revisions = cluster.all("controllerrevisions").len();
    assert_eq!(revisions, 3, "the present one and revisionHistoryLimit old ones");
}

#[test]
fn an_update_with_surge_keeps_every_node_served() {
    let mut cluster = cluster(3, daemon_set(json!(0), json!(1)));
    settle(&mut cluster);
    ready_all(&mut cluster);
    settle(&mut cluster);
    set_image(&mut cluster, "agent:2");
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:1 ready
            n1 agent:2 -
            n2 agent:1 ready
            n3 agent:1 ready
            desired 3 current 3 ready 3 updated 0 available 3 unavailable 0 misscheduled 0
            r1 agent:1
            r2 agent:2
        "#]],
    );
    for _ in 0..4 {
        ready_all(&mut cluster);
        settle(&mut cluster);
    }
    check(
        &cluster,
        expect![[r#"
            n1 agent:2 ready
            n2 agent:2 ready
            n3 agent:2 ready
            desired 3 current 3 ready 3 updated 3 available 3 unavailable 0 misscheduled 0
            r1 agent:1
            r2 agent:2
        "#]],
    );
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut set = daemon_set(json!(1), json!(0));
    set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut cluster = cluster(2, set);
    settle(&mut cluster);
    ready_all(&mut cluster);
    set_image(&mut cluster, "agent:2");
    settle(&mut cluster);
    let first = cluster.pods()[0].header().name.clone();
    cluster.objects.remove(&("pods".to_owned(), Key::new("ns", &first)));
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            n1 agent:2 -
            n2 agent:1 ready
            desired 2 current 2 ready 1 updated 1 available 1 unavailable 1 misscheduled 0
            r1 agent:1
            r2 agent:2
        "#]],
    );
}

#[test]
fn pods_without_a_controller_are_adopted_and_others_released() {
    let mut cluster = cluster(1, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    let pod = cluster.pods()[0].header().name.clone();
    cluster.edit("pods", &pod, |pod| pod["metadata"]["labels"]["app"] = json!("other"));
    settle(&mut cluster);
    assert!(Header::of(cluster.get("pods", &pod)).controller().is_none(), "released");
    assert_eq!(cluster.pods().len(), 2);
    let kept = cluster.pods().into_iter().find(|other| other.header().name != pod).unwrap();
    cluster.objects.remove(&("pods".to_owned(), Key::of(kept.header())));
    cluster.edit("pods", &pod, |pod| pod["metadata"]["labels"]["app"] = json!("agent"));
    settle(&mut cluster);
    assert_eq!(Header::of(cluster.get("pods", &pod)).controller().unwrap().name, "agent");
    assert_eq!(cluster.pods().len(), 1);
}

#[test]
fn a_name_in_use_counts_as_a_collision() {
    let mut first = cluster(1, daemon_set(json!(1), json!(0)));
    settle(&mut first);
    let mut other = first.all("controllerrevisions")[0].clone();
    other["metadata"]["ownerReferences"][0]["uid"] = json!("somebody-else");
    let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
    cluster.add(served("", "nodes"), node("n1"));
    cluster.add(served("apps", "controllerrevisions"), other);
    cluster.add(served("apps", "daemonsets"), daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    assert_eq!(cluster.get("daemonsets", "agent")["status"]["collisionCount"], 1);
    assert_eq!(cluster.all("controllerrevisions").len(), 2);
}

/// A failed Pod is deleted at once; the next ones after 1 s, 2 s and so on.
#[test]
fn failed_pods_are_deleted_with_back_off() {
    let controllers = all(&ControllerConfig::default());
    let mut cache = ControllerCache::new(controllers.iter().flat_map(|controller| &controller.inputs));
    builtin_resources().iter().for_each(|resource| cache.add_resource(resource));
    let put = |cache: &mut ControllerCache, plural: &'static str, group: &'static str, value: &Value| {
        let (resource, object) = (served(group, plural), stored(value));
        let view = cache.decoder().decode(&resource, &object, 1).unwrap();
        cache.put(&resource, NewObject { object, revision: 1, view }, NOW);
    };
    let mut set = daemon_set(json!(1), json!(0));
    set["metadata"]["uid"] = json!("set-uid");
    put(&mut cache, "daemonsets", "apps", &set);
    put(&mut cache, "nodes", "", &node("n1"));
    let failed = json!({
        "metadata": {
            "name": "agent-x", "namespace": "ns", "uid": "p",
            "labels": {"app": "agent", REVISION_LABEL: "h", GENERATION_LABEL: "1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "set-uid", "controller": true}],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "agent:1"}]},
        "status": {"phase": "Failed"},
    });
    let deletions = |cache: &ControllerCache, now: Seconds| {
        let plan = DaemonSetController.reconcile(&View::new(cache, now, None), &name());
        let deletions = plan.actions.iter().filter(|action| matches!(action, Action::Delete { .. })).count();
        let reasons: Vec<&str> = plan.events.iter().map(|event| event.reason).collect();
        (deletions, reasons, plan.requeue_after)
    };
    let told = vec!["FailedDaemonPod", "SuccessfulDelete"];
    let mut now = NOW;
    for wait in [0, 1, 2, 4] {
        put(&mut cache, "pods", "", &failed);
        if wait > 0 {
            assert_eq!(deletions(&cache, now), (0, vec![], Some(wait)));
            now += wait;
        }
        assert_eq!(deletions(&cache, now), (1, told.clone(), None));
        cache.remove(&served("", "pods"), &Key::new("ns", "agent-x"), 2, now);
    }
    put(&mut cache, "pods", "", &failed);
    assert_eq!(deletions(&cache, now + 1801).0, 1, "forgotten after half an hour");
}

#[test]
fn a_node_that_comes_back_concerns_the_set_that_has_a_pod_there() {
    let mut cluster = cluster(2, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    ready_all(&mut cluster);
    let nodes = served("", "nodes");
    let mut cache = cluster.cache();
    let put = |cache: &mut ControllerCache, value: Value| {
        let object = stored(&value);
        let view = cache.decoder().decode(&nodes, &object, 90).unwrap();
        cache.put(&nodes, NewObject { object, revision: 90, view }, NOW)
    };
    let keys = |cache: &ControllerCache, change: &ObjectChange| {
        let mut keys = Keys::new();
        DaemonSetController.keys(change, &View::new(cache, NOW, None), &mut keys);
        keys.len()
    };
    let mut tainted = node("n1");
    tainted["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
    let change = put(&mut cache, tainted);
    assert_eq!(keys(&cache, &change), 1, "the Pod stays, and the node does not count any more");
    let mut back = put(&mut cache, node("n1"));
    assert_eq!(keys(&cache, &back), 1);
    back.previous = None;
    assert_eq!(
        keys(&cache, &back),
        1,
        "the Pod is there already, but was not counted while the Node was gone"
    );
    let mut labelled = node("n1");
    labelled["metadata"]["labels"]["zone"] = json!("a");
    let change = put(&mut cache, labelled);
    assert_eq!(keys(&cache, &change), 0, "nothing changes for the set");
}

#[test]
fn a_revision_with_its_controller_concerns_nobody_when_it_is_created() {
    let mut cluster = cluster(1, daemon_set(json!(1), json!(0)));
    settle(&mut cluster);
    let revisions = served("apps", "controllerrevisions");
    let mut copy = cluster.all("controllerrevisions")[0].clone();
    copy["metadata"]["name"] = json!("agent-copy");
    copy["metadata"]["uid"] = json!("copy");
    let mut cache = cluster.cache();
    let keys = |cache: &ControllerCache, change: &ObjectChange| {
        let mut keys = Keys::new();
        DaemonSetController.keys(change, &View::new(cache, NOW, None), &mut keys);
        keys.len()
    };
    let put = |cache: &mut ControllerCache, value: &Value| {
        let object = stored(value);
        let view = cache.decoder().decode(&revisions, &object, 91).unwrap();
        cache.put(&revisions, NewObject { object, revision: 91, view }, NOW)
    };
    let created = put(&mut cache, &copy);
    assert_eq!(keys(&cache, &created), 0);
    copy["metadata"]["labels"]["other"] = json!("label");
    let changed = put(&mut cache, &copy);
    assert_eq!(keys(&cache, &changed), 1);
    copy["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    copy["metadata"]["name"] = json!("agent-orphan");
    let orphan = put(&mut cache, &copy);
    assert_eq!(keys(&cache, &orphan), 1, "somebody may adopt it");
}
