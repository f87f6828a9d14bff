//! Taints follow conditions; Pods leave when their patience ends.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::testing::{pod, stored};

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
    assert!(reconcile(&node("True", own), 5).is_empty());
}

#[test]
fn pods_leave_when_their_patience_ends() {
    let taint = json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}]);
    let node = node("Unknown", taint);
    let look = |tolerations: Value, now| {
        let value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n", "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let plan = reconcile_pod(&pod(&value), &value["status"], &node, now);
        let deletes = plan.actions.iter().any(|a| matches!(a, Action::Delete { .. }));
        format!("deletes {deletes}, again {:?}, actions {}", plan.requeue_after, plan.actions.len())
    };
    let usual =
        json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    expect!["deletes false, again Some(299), actions 1"].assert_eq(&look(usual.clone(), 101));
    expect!["deletes true, again None, actions 2"].assert_eq(&look(usual, 400));
    expect!["deletes true, again None, actions 2"].assert_eq(&look(json!([]), 101));
    let for_ever = json!([{"operator": "Exists"}]);
    expect!["deletes false, again None, actions 1"].assert_eq(&look(for_ever, 9_999));
}

/// `kubectl taint` says no time: it is written down when it is seen, and Pods that come later have their full patience.
#[test]
fn patience_begins_when_both_are_there() {
    let undated = json!([{"key": "own", "effect": "NoExecute"}]);
    let plan = reconcile(&node("True", undated.clone()), 50);
    let Some(Action::Change { changes, .. }) = plan.actions.first() else {
        panic!("the time is written down")
    };
    expect![[r#"[Put(["spec", "taints"], Array [Object {"effect": String("NoExecute"), "key": String("own"), "timeAdded": String("1970-01-01T00:00:50Z")}])]"#]]
        .assert_eq(&format!("{changes:?}"));
    let look = |taints: Value, scheduled: &str, now| {
        let value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
            "spec": {"nodeName": "n", "tolerations": [{"key": "own", "operator": "Exists", "tolerationSeconds": 60}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled},
            ]},
        });
        let plan = reconcile_pod(&pod(&value), &value["status"], &node("True", taints), now);
        format!("deletes {}, again {:?}", !plan.actions.is_empty(), plan.requeue_after)
    };
    expect!["deletes false, again Some(60)"].assert_eq(&look(undated, "1970-01-01T00:00:10Z", 100));
    let dated = || json!([{"key": "own", "effect": "NoExecute", "timeAdded": "1970-01-01T00:00:50Z"}]);
    expect!["deletes false, again Some(10)"].assert_eq(&look(dated(), "1970-01-01T00:00:10Z", 100));
    expect!["deletes false, again Some(50)"].assert_eq(&look(dated(), "1970-01-01T00:01:30Z", 100));
    expect!["deletes true, again None"].assert_eq(&look(dated(), "1970-01-01T00:00:10Z", 110));
}
