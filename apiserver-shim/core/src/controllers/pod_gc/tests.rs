//! Pods on a node out of service, deleted Pods without a node, and Pods that have ended.

use serde_json::{Value, json};

use super::*;
use crate::controllers::Registration;
use crate::testing::TestCluster;

fn planned(ready: &str, taint: &str, deleted: bool) -> Plan {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let node = json!({
        "metadata": {"name": "n", "uid": "n"},
        "spec": {"taints": [{"key": taint, "effect": "NoExecute", "value": "nodeshutdown"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    cluster.add(served("", "nodes"), node);
    let mut pod: Value = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running"},
    });
    if deleted {
        pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:10:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    cluster.add(served("", "pods"), pod);
    cluster.reconcile(&PodGarbageCollector::default(), &ObjectName::new(served("", "pods"), "ns", "p"))
}

#[test]
fn only_deleted_pods_of_a_node_out_of_service_end() {
    let gone = planned("Unknown", OUT_OF_SERVICE, true);
    let deletes = |plan: &Plan| plan.actions.iter().any(|a| matches!(a, Action::Delete { .. }));
    assert!(deletes(&gone) && gone.actions.len() == 2, "failed, then deleted");
    for stays in [
        planned("True", OUT_OF_SERVICE, true),
        planned("Unknown", OUT_OF_SERVICE, false),
        planned("Unknown", "node.kubernetes.io/unreachable", true),
    ] {
        assert!(stays.actions.is_empty());
    }
}

#[test]
fn deleted_pods_without_a_node_that_are_held_end_later() {
    let held = |age: Seconds| {
        let mut cluster = TestCluster { now: 600 + age, ..TestCluster::default() };
        let metadata = json!({"name": "p", "namespace": "ns", "uid": "p", "finalizers": ["a/b"],
            "deletionTimestamp": "1970-01-01T00:10:00Z", "deletionGracePeriodSeconds": 0});
        let pod = json!({"metadata": metadata, "spec": {}, "status": {"phase": "Pending"}});
        cluster.add(served("", "pods"), pod);
        let plan = cluster
            .reconcile(&PodGarbageCollector::default(), &ObjectName::new(served("", "pods"), "ns", "p"));
        (plan.actions.len(), plan.requeue_after)
    };
    assert_eq!([held(0), held(19), held(20)], [(0, Some(20)), (0, Some(1)), (1, None)]);
}

#[test]
fn the_oldest_ended_pods_go_and_evicted_ones_before_them() {
    let controllers = [Registration::new(PodGarbageCollector { ended_max: 2 })];
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let pods = [
        ("running", 0, "Running", ""),
        ("third", 3, "Succeeded", ""),
        ("first", 1, "Succeeded", ""),
        ("evicted", 9, "Failed", "Evicted"),
        ("second", 2, "Failed", "Error"),
    ];
    for (name, minute, phase, reason) in pods {
        let created = format!("1970-01-01T00:{minute:02}:00Z");
        let metadata = json!({"name": name, "namespace": "ns", "uid": name, "creationTimestamp": created});
        let status = json!({"phase": phase, "reason": reason});
        cluster.add(served("", "pods"), json!({"metadata": metadata, "spec": {}, "status": status}));
    }
    cluster.run(&controllers);
    let left: Vec<&str> =
        cluster.all("pods").into_iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(left, ["running", "second", "third"]);
}
