//! How many Pods, and which go first.

use std::sync::Arc;

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::{
    rows::Phase,
    testing::{TestCluster, pod, stored},
};

fn set(replicas: i64) -> Value {
    json!({
        "metadata": {"name": "r", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"k": "v"}},
            "template": {"metadata": {"labels": {"k": "v"}}, "spec": {"containers": [{"name": "c"}]}},
        },
    })
}

#[test]
fn creates_adopts_and_releases_pods() {
    let mut cluster = TestCluster { now: 100, ..TestCluster::default() };
    cluster.add(served("apps", "replicasets"), set(2));
    let lone = json!({"metadata": {"name": "lone", "namespace": "ns", "labels": {"k": "v"}}, "spec": {}});
    cluster.add(served("", "pods"), lone);
    let plan = cluster.reconcile_replica_set("r");
    cluster.apply(&plan);
    assert_eq!(cluster.pods().len(), 2);
    let plan = cluster.reconcile_replica_set("r");
    cluster.apply(&plan);
    assert!(cluster.reconcile_replica_set("r").is_empty());
    cluster.edit("pods", "lone", |p| p["metadata"]["labels"] = json!({"k": "out"}));
    let plan = cluster.reconcile_replica_set("r");
    cluster.apply(&plan);
    assert_eq!(cluster.pods().len(), 3);
    assert!(cluster.get("pods", "lone")["metadata"].get("ownerReferences").is_none());
    expect![[r#"{"fullyLabeledReplicas":2,"observedGeneration":1,"replicas":2,"terminatingReplicas":0}"#]]
        .assert_eq(&{
            let plan = cluster.reconcile_replica_set("r");
            cluster.apply(&plan);
            cluster.get("replicasets", "r")["status"].to_string()
        });
}

#[test]
fn creates_a_bounded_number_of_pods_per_plan() {
    let mut cluster = TestCluster { now: 100, ..TestCluster::default() };
    cluster.add(served("apps", "replicasets"), set(700));
    let plan = cluster.reconcile_replica_set("r");
    assert_eq!(plan.actions.iter().filter(|a| matches!(a, Action::Create { .. })).count(), BURST_MAX);
}

#[test]
fn the_lowest_ranked_pods_are_deleted_first() {
    let base =
        pod(&json!({"metadata": {"name": "x", "namespace": "ns", "uid": "x"}, "spec": {"nodeName": "n"}}));
    let make = |name: &str, edit: &dyn Fn(&mut Pod)| {
        let mut pod = base.clone();
        pod.object = stored(&json!({"metadata": {"name": name, "namespace": "ns", "uid": name}}));
        pod.phase = Phase::Running;
        pod.ready_since = Some(1_000);
        pod.created = 1_000;
        edit(&mut pod);
        Arc::new(pod)
    };
    let pods = [
        make("old-and-ready", &|_| ()),
        make("restarted", &|p| p.restarts = 3),
        make("young", &|p| p.created = 99_999),
        make("just-ready", &|p| p.ready_since = Some(99_990)),
        make("dear", &|p| p.deletion_cost = 5),
        make("crowded", &|p| p.node = Some("full".into())),
        make("not-ready", &|p| p.ready_since = None),
        make("pending", &|p| p.phase = Phase::Pending),
        make("unscheduled", &|p| p.node = None),
    ];
    let mut refs: Vec<&Pod> = pods.iter().map(|p| &**p).collect();
    ranking::order(&mut refs, &[("full", 4), ("n", 1)], 100_000);
    let names: Vec<&str> = refs.iter().map(|p| p.uid()).collect();
    expect!["unscheduled pending not-ready crowded just-ready restarted young old-and-ready dear"]
        .assert_eq(&names.join(" "));
}

#[test]
fn a_refusal_is_a_condition_until_it_is_resolved() {
    let mut cluster = TestCluster { now: 100, ..TestCluster::default() };
    cluster.add(served("apps", "replicasets"), set(1));
    cluster.refusal = Some(Refusal { creating: true, code: 403, message: "quota".to_owned() });
    let plan = cluster.reconcile_replica_set("r");
    // Before the creation, whose next refusal would end the plan.
    let Some(Action::Change { changes, .. }) = plan.actions.first() else { panic!("no status") };
    let Change::Put(_, status) = &changes[0] else { panic!("no status") };
    assert_eq!(condition(status, "ReplicaFailure").unwrap()["reason"], "FailedCreate");
    assert_eq!(plan.actions.len(), 2);
}
