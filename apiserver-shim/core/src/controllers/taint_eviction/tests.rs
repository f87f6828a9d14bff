//! Pods are evicted when they no longer tolerate a taint.

use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::testing::TestCluster;

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

fn node(ready: &str, taints: Value) -> Value {
    json!({
        "metadata": {"name": "n", "uid": "n"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:01:40Z"}]},
    })
}

fn planned(pod: Value, node: &Value, now: Seconds) -> Plan {
    let mut cluster = TestCluster { now, ..TestCluster::default() };
    cluster.add(served("", "nodes"), node.clone());
    cluster.add(served("", "pods"), pod);
    cluster.edit("pods", "p", |pod| pod["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:00Z"));
    cluster.reconcile(&TaintEvictionController, &ObjectName::new(served("", "pods"), "ns", "p"))
}

#[test]
fn pods_are_evicted_when_toleration_seconds_end() {
    let taint = json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}]);
    let node = node("Unknown", taint);
    let outcome = |tolerations: Value, now| {
        let value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n", "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let plan = planned(value, &node, now);
        let deletes = plan.actions.iter().any(|a| matches!(a, Action::Delete { .. }));
        format!("deletes {deletes}, again {:?}, actions {}", plan.requeue_after, plan.actions.len())
    };
    let usual =
        json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    expect!["deletes false, again Some(299), actions 0"].assert_eq(&outcome(usual.clone(), 101));
    expect!["deletes true, again None, actions 2"].assert_eq(&outcome(usual, 400));
    expect!["deletes true, again None, actions 2"].assert_eq(&outcome(json!([]), 101));
    let for_ever = json!([{"operator": "Exists"}]);
    expect!["deletes false, again None, actions 0"].assert_eq(&outcome(for_ever, 9_999));
}

/// A taint from before a restart of the whole cluster evicts nothing at once: the Node has not had time to come back.
#[test]
fn toleration_seconds_count_from_the_start_of_the_controllers() {
    let taint = json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}]);
    let mut cluster = TestCluster { now: 50_010, ..TestCluster::default() };
    cluster.add(served("", "nodes"), node("Unknown", taint));
    cluster.add(
        served("", "pods"),
        json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n", "tolerations": [
                {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ]},
            "status": {"phase": "Running"},
        }),
    );
    cluster.edit("pods", "p", |pod| pod["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:00Z"));
    let cache = cluster.cache().started_at(50_000);
    let pod = ObjectName::new(served("", "pods"), "ns", "p");
    let plan = TaintEvictionController.reconcile(&View::new(&cache, cluster.now, None), &pod);
    assert_eq!(plan.requeue_after, Some(290));
    assert!(plan.actions.is_empty());
}

/// `tolerationSeconds` counts from the later of the taint and the binding.
#[test]
fn toleration_seconds_count_from_taint_and_binding() {
    let undated = json!([{"key": "own", "effect": "NoExecute"}]);
    let outcome = |taints: Value, scheduled: &str, now| {
        let value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n", "tolerations": [{"key": "own", "operator": "Exists", "tolerationSeconds": 60}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled},
            ]},
        });
        let plan = planned(value, &node("True", taints), now);
        format!("deletes {}, again {:?}", !plan.actions.is_empty(), plan.requeue_after)
    };
    expect!["deletes false, again Some(60)"].assert_eq(&outcome(undated, "1970-01-01T00:00:10Z", 100));
    let dated = || json!([{"key": "own", "effect": "NoExecute", "timeAdded": "1970-01-01T00:00:50Z"}]);
    expect!["deletes false, again Some(10)"].assert_eq(&outcome(dated(), "1970-01-01T00:00:10Z", 100));
    expect!["deletes false, again Some(50)"].assert_eq(&outcome(dated(), "1970-01-01T00:01:30Z", 100));
    expect!["deletes true, again None"].assert_eq(&outcome(dated(), "1970-01-01T00:00:10Z", 110));
}
