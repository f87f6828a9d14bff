//! What is the same as for ReplicaSets, and what is not.

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::{
    controllers::{Refusal, condition, served},
    testing::TestCluster,
};

fn plan(cluster: &TestCluster) -> Plan {
    let name = ObjectName::new(served("", "replicationcontrollers"), "ns", "r");
    cluster.reconcile(&ReplicationManager, &name)
}

#[test]
fn pods_are_created_adopted_and_deleted() {
    let mut cluster = TestCluster { now: 100, ..TestCluster::default() };
    cluster.add(
        served("", "replicationcontrollers"),
        json!({
            "metadata": {"name": "r", "namespace": "ns"},
            "spec": {
                "replicas": 2,
                "selector": {"k": "v"},
                "template": {"metadata": {"labels": {"k": "v"}}, "spec": {"containers": [{"name": "c"}]}},
            },
        }),
    );
    let lone = json!({"metadata": {"name": "lone", "namespace": "ns", "labels": {"k": "v"}}, "spec": {}});
    cluster.add(served("", "pods"), lone);
    for _ in 0..3 {
        let plan = plan(&cluster);
        cluster.apply(&plan);
    }
    assert!(plan(&cluster).is_empty());
    expect![[r#"{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicationController","name":"r","uid":"uid-0001"}"#]]
        .assert_eq(&cluster.get("pods", "lone")["metadata"]["ownerReferences"][0].to_string());
    expect![[r#"{"fullyLabeledReplicas":2,"observedGeneration":1,"replicas":2}"#]]
        .assert_eq(&cluster.get("replicationcontrollers", "r")["status"].to_string());
    cluster.edit("replicationcontrollers", "r", |rc| rc["spec"]["replicas"] = json!(1));
    let shrink = plan(&cluster);
    assert_eq!(shrink.events[0].reason, "SuccessfulDelete");
    cluster.apply(&shrink);
    assert_eq!(cluster.pods().len(), 1);
    cluster.edit("replicationcontrollers", "r", |rc| rc["spec"]["replicas"] = json!(2));
    cluster.refusal = Some(Refusal { creating: true, code: 403, message: "quota".to_owned() });
    let refused = plan(&cluster);
    cluster.apply(&refused);
    let status = &cluster.get("replicationcontrollers", "r")["status"];
    assert_eq!(condition(status, "ReplicaFailure").expect("a condition")["reason"], "FailedCreate");
}
