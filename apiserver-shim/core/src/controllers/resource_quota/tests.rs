//! The status of ResourceQuotas follows the objects of their namespaces.

use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::controllers::Registration;
use crate::rows::rfc3339;
use crate::testing::TestCluster;

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns"}, "status": {"phase": phase},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}}]}})
}

fn object(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})
}

fn cluster(spec: Value) -> TestCluster {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(QUOTAS, object("q", spec));
    for (name, phase) in [("a", "Running"), ("b", "Pending"), ("ended", "Succeeded")] {
        cluster.add(served("", "pods"), pod(name, phase));
    }
    cluster.add(
        served("", "services"),
        object("s", json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]})),
    );
    cluster.add(served("apps", "deployments"), object("d", json!({})));
    cluster.add(served("", "secrets"), json!({"metadata": {"name": "s", "namespace": "ns"}}));
    cluster
}

fn settled(cluster: &mut TestCluster) -> String {
    cluster.run(&[Registration::new(ResourceQuotaController)]);
    cluster.get("resourcequotas", "q")["status"].to_string()
}

fn all_limits() -> Value {
    json!({"hard": {"pods": "5", "count/pods": "9", "cpu": "2", "limits.memory": "4Gi", "services": "1",
        "services.nodeports": "3", "services.loadbalancers": "1", "count/deployments.apps": "2",
        "secrets": "3", "configmaps": "1", "count/things.example.com": "7"}})
}

#[test]
fn everything_that_a_namespace_has_is_counted() {
    let mut cluster = cluster(all_limits());
    expect![[r#"{"hard":{"configmaps":"1","count/deployments.apps":"2","count/pods":"9","count/things.example.com":"7","cpu":"2","limits.memory":"4Gi","pods":"5","secrets":"3","services":"1","services.loadbalancers":"1","services.nodeports":"3"},"used":{"configmaps":"0","count/deployments.apps":"1","count/pods":"3","cpu":"1","limits.memory":"2Gi","pods":"2","secrets":"1","services":"1","services.loadbalancers":"0","services.nodeports":"2"}}"#]]
        .assert_eq(&settled(&mut cluster));
}

/// INV-52.
#[test]
fn second_reconcile_of_quotas() {
    for spec in [all_limits(), json!({}), json!({"hard": {}})] {
        let mut cluster = cluster(spec);
        settled(&mut cluster);
        let plan = cluster.reconcile(&ResourceQuotaController, &ObjectName::new(QUOTAS, "ns", "q"));
        assert!(plan.is_empty(), "{plan:?}");
    }
}

#[test]
fn scopes_select_pods_and_exclude_other_objects() {
    let mut cluster =
        cluster(json!({"hard": {"pods": "5", "services": "1", "secrets": "1"}, "scopes": ["Terminating"]}));
    cluster.edit("pods", "a", |pod| pod["spec"]["activeDeadlineSeconds"] = json!(5));
    expect![[r#"{"hard":{"pods":"5","secrets":"1","services":"1"},"used":{"pods":"1","secrets":"0","services":"0"}}"#]]
        .assert_eq(&settled(&mut cluster));
}

#[test]
fn a_limit_that_is_removed_from_the_spec_is_removed_from_the_status() {
    let mut cluster = cluster(json!({"hard": {"pods": "5", "secrets": "1"}}));
    settled(&mut cluster);
    cluster.edit("resourcequotas", "q", |quota| quota["spec"]["hard"] = json!({"pods": "2"}));
    expect![[r#"{"hard":{"pods":"2"},"used":{"pods":"2"}}"#]].assert_eq(&settled(&mut cluster));
}

#[test]
fn a_pod_that_its_node_does_not_end_is_given_up_after_its_grace_period() {
    let mut cluster = cluster(json!({"hard": {"pods": "5"}}));
    let at = rfc3339(cluster.now);
    cluster.edit("pods", "a", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!(at);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    });
    let name = ObjectName::new(QUOTAS, "ns", "q");
    let plan = cluster.reconcile(&ResourceQuotaController, &name);
    assert_eq!(plan.requeue_after, Some(31));
    cluster.now += 31;
    expect![[r#"{"hard":{"pods":"5"},"used":{"pods":"1"}}"#]].assert_eq(&settled(&mut cluster));
}

#[test]
fn a_charge_that_the_cache_does_not_explain_yet_is_awaited_and_never_overwritten() {
    let cluster = cluster(all_limits());
    let (cache, name) = (cluster.cache(), ObjectName::new(QUOTAS, "ns", "q"));
    let stale = View::new(&cache, cluster.now, None).complete_to(0);
    let plan = ResourceQuotaController.reconcile(&stale, &name);
    assert!(plan.is_empty());
    assert_eq!(plan.needs_revision, Some(1));
    let plan = ResourceQuotaController.reconcile(&View::new(&cache, cluster.now, None), &name);
    let Action::Change { changes, .. } = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!(changes[0], Change::Put(&["metadata", "resourceVersion"], json!("1")));
}

#[test]
fn a_quota_without_limits_has_an_empty_status() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let mut quota = object("q", json!({}));
    quota["status"] = json!({"hard": {"pods": "1"}, "used": {"pods": "1"}});
    cluster.add(QUOTAS, quota);
    assert_eq!(settled(&mut cluster), "{}");
}
