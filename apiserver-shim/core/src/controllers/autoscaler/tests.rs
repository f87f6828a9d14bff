//! Bounds and conditions.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::testing::{TestCluster, deployment, deployments};

fn cluster(replicas: i64, target: &str) -> TestCluster {
    let mut cluster = TestCluster { now: 985, ..TestCluster::default() };
    cluster.add(deployments(), deployment(replicas, json!(1), json!(0)));
    cluster.add(
        served("autoscaling", "horizontalpodautoscalers"),
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": 2, "maxReplicas": 4,
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            },
            "status": {"currentMetrics": null, "desiredReplicas": 0},
        }),
    );
    // A new one is looked at after fifteen seconds.
    cluster.now = 1_000;
    cluster
}

fn next(cluster: &mut TestCluster) -> Plan {
    let name = ObjectName::new(served("autoscaling", "horizontalpodautoscalers"), "ns", "web");
    let plan = cluster.reconcile(&AutoscalerController, &name);
    cluster.apply(&plan);
    plan
}

fn check(cluster: &TestCluster, plan: &Plan, expected: Expect) {
    let status = &cluster.get("horizontalpodautoscalers", "web")["status"];
    let mut out = format!("replicas {}\n", cluster.get("deployments", "web")["spec"]["replicas"]);
    for condition in access::list(status, &["conditions"]) {
        let text = |member| access::text(condition, &[member]);
        out += &format!("{} {} {}: {}\n", text("type"), text("status"), text("reason"), text("message"));
    }
    for event in &plan.events {
        out += &format!("{}: {}\n", event.reason, event.message);
    }
    // Causes below their effects, so that lines stay short.
    expected.assert_eq(&out.replace(": ", ":\n  "));
}

#[test]
fn without_a_metrics_api_the_size_stays() {
    let mut cluster = cluster(3, "web");
    let plan = next(&mut cluster);
    check(
        &cluster,
        &plan,
        expect![[r#"
            replicas 3
            AbleToScale True SucceededGetScale:
              the HPA controller was able to get the target's current scale
            ScalingActive False FailedGetResourceMetric:
              the HPA was unable to compute the replica count:
              failed to get cpu utilization:
              unable to get metrics for resource cpu:
              unable to fetch metrics from resource metrics API:
              the server could not find the requested resource (get pods.metrics.k8s.io)
            FailedGetResourceMetric:
              failed to get cpu utilization:
              unable to get metrics for resource cpu:
              unable to fetch metrics from resource metrics API:
              the server could not find the requested resource (get pods.metrics.k8s.io)
            FailedComputeMetricsReplicas:
              invalid metrics (1 invalid out of 1), first error is:
              failed to get cpu resource metric value:
              failed to get cpu utilization:
              unable to get metrics for resource cpu:
              unable to fetch metrics from resource metrics API:
              the server could not find the requested resource (get pods.metrics.k8s.io)
        "#]],
    );
    let again = next(&mut cluster);
    assert!(again.is_empty(), "{:#?}", again.actions);
    assert_eq!(again.requeue_after, Some(15));
}

#[test]
fn the_bounds_hold_without_metrics() {
    for (before, after, why) in [
        (9, 4, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ] {
        let mut cluster = cluster(before, "web");
        let plan = next(&mut cluster);
        assert_eq!(cluster.get("deployments", "web")["spec"]["replicas"], after);
        let Action::Change { changes, .. } = &plan.actions[0] else { panic!("{:#?}", plan.actions) };
        let Change::Merge(patch) = &changes[0] else { panic!("{changes:#?}") };
        assert!(
            patch["metadata"]["resourceVersion"].is_string(),
            "only the version that was read is changed"
        );
        assert_eq!(plan.events[0].message, format!("New size: {after}; reason: {why}"));
        next(&mut cluster);
        assert!(next(&mut cluster).is_empty());
    }
}

#[test]
fn a_target_of_size_zero_is_left_alone() {
    let mut cluster = cluster(0, "web");
    let plan = next(&mut cluster);
    check(
        &cluster,
        &plan,
        expect![[r#"
            replicas 0
            AbleToScale True SucceededGetScale:
              the HPA controller was able to get the target's current scale
            ScalingActive False ScalingDisabled:
              scaling is disabled since the replica count of the target is zero
        "#]],
    );
}

#[test]
fn a_missing_target_is_reported() {
    let mut cluster = cluster(3, "other");
    let plan = next(&mut cluster);
    check(
        &cluster,
        &plan,
        expect![[r#"
            replicas 3
            AbleToScale False FailedGetScale:
              the HPA controller was unable to get the target's current scale:
              deployments.apps "other" not found
            FailedGetScale:
              deployments.apps "other" not found
        "#]],
    );
}

#[test]
fn an_installed_metrics_api_is_not_read() {
    let mut cluster = cluster(3, "web");
    cluster.add(
        served("apiregistration.k8s.io", "apiservices"),
        json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}}),
    );
    let plan = next(&mut cluster);
    assert!(plan.events[0].message.ends_with("API: this controller does not read it yet"));
}
