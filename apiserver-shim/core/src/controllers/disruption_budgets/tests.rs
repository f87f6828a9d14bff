//! The status of PodDisruptionBudgets follows their Pods and the scales of the Pods' controllers.

use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::controllers::Registration;
use crate::testing::TestCluster;

fn pod(name: &str, ready: bool, owner: Option<Value>) -> Value {
    let ready = if ready { "True" } else { "False" };
    let mut pod = json!({"metadata": {"name": name, "namespace": "ns", "labels": {"app": "a"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:00Z"}]}});
    if let Some(owner) = owner {
        pod["metadata"]["ownerReferences"] = json!([owner]);
    }
    pod
}

/// A cluster with a budget of this limit.
fn cluster(limit: Value) -> TestCluster {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let mut spec = limit;
    spec["selector"] = json!({"matchLabels": {"app": "a"}});
    let zero = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    cluster.add(BUDGETS, json!({"metadata": {"name": "b", "namespace": "ns"}, "spec": spec, "status": zero}));
    cluster
}

/// Adds an object that controls Pods, and returns a reference to it.
fn controller(
    cluster: &mut TestCluster,
    (group, plural, kind): (&'static str, &'static str, &str),
    replicas: Value,
    owner: Option<Value>,
) -> Value {
    let mut object = json!({"metadata": {"name": kind, "namespace": "ns"}, "spec": {"replicas": replicas}});
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = json!([owner]);
    }
    cluster.add(served(group, plural), object);
    let uid = cluster.get(plural, kind)["metadata"]["uid"].clone();
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"apiVersion": version, "kind": kind, "name": kind, "uid": uid, "controller": true})
}

const DEPLOYMENT: (&str, &str, &str) = ("apps", "deployments", "Deployment");
const REPLICA_SET: (&str, &str, &str) = ("apps", "replicasets", "ReplicaSet");

fn settled(cluster: &mut TestCluster) -> String {
    cluster.run(&[Registration::new(DisruptionController)]);
    cluster.get("poddisruptionbudgets", "b")["status"].to_string()
}

#[test]
fn ready_pods_beyond_the_desired_ones_may_be_disrupted() {
    let mut cluster = cluster(json!({"minAvailable": 1}));
    for (name, ready) in [("a", true), ("b", true), ("c", false)] {
        cluster.add(PODS, pod(name, ready, None));
    }
    expect![[r#"{"conditions":[{"lastTransitionTime":"1970-01-01T00:16:40Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":2,"desiredHealthy":1,"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}"#]]
        .assert_eq(&settled(&mut cluster));
    cluster.now += 10;
    cluster.edit("pods", "b", |pod| pod["status"] = json!({"phase": "Running"}));
    expect![[r#"{"conditions":[{"lastTransitionTime":"1970-01-01T00:16:50Z","message":"","observedGeneration":1,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}],"currentHealthy":1,"desiredHealthy":1,"disruptionsAllowed":0,"expectedPods":3,"observedGeneration":1}"#]]
        .assert_eq(&settled(&mut cluster));
}

#[test]
fn percentages_are_of_the_scale_of_the_deployment_above() {
    let mut cluster = cluster(json!({"maxUnavailable": "25%"}));
    let deployment = controller(&mut cluster, DEPLOYMENT, json!(10), None);
    let set = controller(&mut cluster, REPLICA_SET, json!(3), Some(deployment));
    for at in 0..9 {
        cluster.add(PODS, pod(&format!("p{at}"), true, Some(set.clone())));
    }
    let status = settled(&mut cluster);
    assert!(
        status.contains(r#""currentHealthy":9,"desiredHealthy":7,"disruptionsAllowed":2,"expectedPods":10"#),
        "{status}"
    );
}

#[test]
fn a_budget_whose_scale_is_unknown_allows_nothing_and_says_why() {
    let limit = json!({"minAvailable": "50%"});
    let reason = |cluster: &mut TestCluster| {
        let status = settled(cluster);
        let status: Value = serde_json::from_str(&status).unwrap();
        let condition = condition(&status, CONDITION).unwrap();
        format!(
            "{} {} {}",
            status["disruptionsAllowed"],
            condition["reason"].as_str().unwrap(),
            condition["message"].as_str().unwrap()
        )
    };
    let mut gone = cluster(limit.clone());
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "u", "controller": true});
    gone.add(PODS, pod("p", true, Some(set)));
    let mut unknown = cluster(limit.clone());
    let thing =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u", "controller": true});
    unknown.add(PODS, pod("p", true, Some(thing)));
    let mut unscaled = cluster(limit);
    let set = controller(&mut unscaled, ("apps", "daemonsets", "DaemonSet"), json!(null), None);
    unscaled.add(PODS, pod("p", true, Some(set)));
    let reasons = [&mut gone, &mut unknown, &mut unscaled].map(reason);
    expect![[r#"
        0 SyncFailed found no controllers for pod "p"
        0 SyncFailed no matches for kind "Thing" in version "example.com/v1"
        0 SyncFailed daemonsets.apps does not implement the scale subresource"#]]
    .assert_eq(&reasons.join("\n"));
}

#[test]
fn pods_without_a_controller_are_reported() {
    let mut cluster = cluster(json!({"maxUnavailable": 1}));
    cluster.add(PODS, pod("p", true, None));
    let plan = cluster.reconcile(&DisruptionController, &ObjectName::new(BUDGETS, "ns", "b"));
    expect![[r#"Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: a,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value."#]]
        .assert_eq(&plan.events[0].message);
}

#[test]
fn an_evicted_pod_is_awaited_for_two_minutes() {
    let mut cluster = cluster(json!({"minAvailable": 1}));
    cluster.add(PODS, pod("a", true, None));
    cluster.add(PODS, pod("b", true, None));
    settled(&mut cluster);
    let at = rfc3339(cluster.now);
    cluster.edit("poddisruptionbudgets", "b", |budget| {
        budget["status"]["disruptedPods"] = json!({"a": at, "gone": at})
    });
    let plan = cluster.reconcile(&DisruptionController, &ObjectName::new(BUDGETS, "ns", "b"));
    assert_eq!(plan.requeue_after, Some(DELETION_TIMEOUT));
    let status = settled(&mut cluster);
    assert!(
        status.contains(r#""disruptedPods":{"a":"1970-01-01T00:16:40Z"},"disruptionsAllowed":0"#),
        "{status}"
    );
    cluster.now += DELETION_TIMEOUT;
    let status = settled(&mut cluster);
    assert!(status.contains(r#""desiredHealthy":1,"disruptionsAllowed":1"#), "{status}");
}

/// INV-52.
#[test]
fn second_reconcile_of_budgets() {
    for limit in [json!({"minAvailable": 1}), json!({"maxUnavailable": "50%"}), json!({})] {
        let mut cluster = cluster(limit);
        cluster.add(PODS, pod("p", true, None));
        settled(&mut cluster);
        let plan = cluster.reconcile(&DisruptionController, &ObjectName::new(BUDGETS, "ns", "b"));
        assert!(plan.is_empty(), "{plan:?}");
    }
}

#[test]
fn a_disruption_that_does_not_happen_is_revoked() {
    let mut cluster = cluster(json!({}));
    let mut disrupted = pod("p", true, None);
    disrupted["status"]["conditions"][0] = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": rfc3339(cluster.now)});
    cluster.add(PODS, disrupted);
    let name = ObjectName::new(PODS, "ns", "p");
    assert_eq!(cluster.reconcile(&DisruptionController, &name).requeue_after, Some(DELETION_TIMEOUT));
    cluster.now += DELETION_TIMEOUT;
    settled(&mut cluster);
    expect![[r#"[{"lastProbeTime":null,"lastTransitionTime":"1970-01-01T00:18:40Z","observedGeneration":1,"status":"False","type":"DisruptionTarget"}]"#]]
        .assert_eq(&cluster.get("pods", "p")["status"]["conditions"].to_string());
}
