//! Pods that are being deleted on a node out of service.

use serde_json::{Value, json};

use super::*;
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
    cluster.reconcile(&PodGarbageCollector, &ObjectName::new(served("", "pods"), "ns", "p"))
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
