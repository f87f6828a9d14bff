//! Taints follow the Ready condition; Pods are marked not ready.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::{TestCluster, pod, stored};

fn node(ready: &str, taints: Value) -> Node {
    let value = json!({
        "metadata": {"name": "n", "uid": "n"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:01:40Z"}]},
    });
    Node::decode(stored(&value), 1, &value)
}

#[test]
fn taints_follow_the_ready_condition() {
    let own = json!([{"key": "own", "effect": "NoSchedule"}]);
    let wanted = |ready, now| {
        let node = node(ready, own.clone());
        let taints = wanted_taints(&node, now);
        taints.iter().map(|t| format!("{}:{}", t.key, t.effect.as_str())).collect::<Vec<_>>().join(" ")
    };
    expect!["own:NoSchedule"].assert_eq(&wanted("True", 5));
    expect!["own:NoSchedule node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute"]
        .assert_eq(&wanted("False", 5));
    expect![
        "own:NoSchedule node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute"
    ]
    .assert_eq(&wanted("Unknown", 5));
    assert!(taint(&node("True", own), 5).is_empty());
}

#[test]
fn a_node_with_disk_pressure_has_a_taint() {
    let taints = |pressure: &str| {
        let value = json!({
            "metadata": {"name": "n", "uid": "n"},
            "spec": {"taints": [{"key": DISK_PRESSURE, "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "DiskPressure", "status": pressure}]},
        });
        wanted_taints(&Node::decode(stored(&value), 1, &value), 5).len()
    };
    assert_eq!((taints("True"), taints("False"), taints("Unknown")), (1, 0, 0));
}

#[test]
fn pods_are_marked_not_ready_once() {
    let marked = |ready: &str| {
        let value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        });
        mark_not_ready(&pod(&value), 101).actions.len()
    };
    assert_eq!((marked("True"), marked("False")), (1, 0));
}

/// `kubectl taint` sets no time, so the controller does.
#[test]
fn the_controller_sets_the_time_of_taints() {
    let undated = json!([{"key": "own", "effect": "NoExecute"}]);
    let plan = taint(&node("True", undated), 50);
    let Some(Action::Change { changes, .. }) = plan.actions.first() else {
        panic!("the time is written down")
    };
    expect![[r#"[Put(["spec", "taints"], Array [Object {"effect": String("NoExecute"), "key": String("own"), "timeAdded": String("1970-01-01T00:00:50Z")}])]"#]]
        .assert_eq(&format!("{changes:?}"));
}

/// The node sends a status again only when it changes, which it need not do after the Node was not ready.
#[test]
fn pods_of_a_node_that_is_ready_again_are_ready_again() {
    let outcome = |node: &str, ready: &str, reason: &str, containers: &str| {
        let mut cluster = TestCluster { now: 100, ..TestCluster::default() };
        cluster.add(
            served("", "nodes"),
            json!({"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": node}]}}),
        );
        let mut condition = json!({"type": "Ready", "status": ready});
        if !reason.is_empty() {
            condition["reason"] = json!(reason);
        }
        let conditions = json!([condition, {"type": "ContainersReady", "status": containers}]);
        cluster.add(
            served("", "pods"),
            json!({
                "metadata": {"name": "p", "namespace": "ns", "uid": "p"}, "spec": {"nodeName": "n"},
                "status": {"phase": "Running", "conditions": conditions},
            }),
        );
        let plan =
            cluster.reconcile(&NodeLifecycleController, &ObjectName::new(served("", "pods"), "ns", "p"));
        let written = plan.actions.iter().map(|action| match action {
            Action::Change { changes, .. } => match &changes[..] {
                [Change::Put(_, value)] => value[0]["status"].as_str().unwrap().to_owned(),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        });
        written.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(outcome("True", "False", "", "True"), "True");
    assert_eq!(outcome("True", "True", "", "True"), "");
    assert_eq!(outcome("True", "False", "", "False"), "");
    assert_eq!(outcome("True", "False", "ReadinessGatesNotReady", "True"), "", "the node's own reason");
    assert_eq!(outcome("Unknown", "True", "", "True"), "False");
    assert_eq!(outcome("Unknown", "False", "", "True"), "");
}
