//! Looks at targets, and what is decided and told.

mod answers;
mod limits;
mod metrics;
mod turns;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::controllers::{Action, Change, Plan};

/// One HorizontalPodAutoscaler and what it looks at.
struct Case {
    object: Value,
    scale: Scale,
    pods: Vec<AutoscaledPod>,
    answers: Vec<Result<Value, String>>,
    autoscaler: Autoscaler,
    now: Seconds,
}

/// When Pods have started; looks are an hour later.
const STARTED: Seconds = 100_000;

impl Case {
    /// Between two and ten replicas, with these metrics.
    fn new(replicas: i64, metrics: Value) -> Case {
        let object = json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "creationTimestamp": crate::rows::rfc3339(STARTED)},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 10, "metrics": metrics,
            },
        });
        Case {
            object,
            scale: Scale { replicas, running: replicas, selector: "app=web".to_owned() },
            pods: (0..replicas).map(|n| pod(&format!("p{n}"), "Running", true)).collect(),
            answers: Vec::new(),
            autoscaler: Autoscaler::default(),
            now: STARTED + 3_600,
        }
    }

    /// CPU in percent of the requests, half a core each.
    fn of_cpu(percent: i64, usages: &[&str]) -> Case {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let mut case = Case::new(
            usages.len() as i64,
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
        case.uses(usages);
        case
    }

    /// The metrics API answers that the Pods use so much CPU; of an empty one nothing is known.
    fn uses(&mut self, usages: &[&str]) {
        let at = crate::rows::rfc3339(self.now - 5);
        let items = usages.iter().enumerate().filter(|(_, usage)| !usage.is_empty()).map(|(n, usage)| {
            json!({"metadata": {"name": format!("p{n}")}, "timestamp": at, "window": "15.2s",
                "containers": [{"name": "c", "usage": {"cpu": usage, "memory": "64Mi"}}]})
        });
        self.answers = vec![Ok(json!({"items": items.collect::<Vec<_>>()}))];
    }

    /// Looks at this object, and decides with the rest of the case.
    fn decide<T>(
        &mut self,
        object: &Value,
        decide: impl FnOnce(&mut Autoscaler, &Look<'_>, Report) -> T,
    ) -> T {
        let stored = crate::testing::stored(object);
        let header = &*stored.header;
        let spec = Spec::read(object);
        let read = |(metric, answer): (&Metric, &Result<Value, String>)| match answer {
            Ok(answer) => metric.usage(Ok(answer.to_string().as_bytes())),
            Err(why) => metric.usage(Err(why.clone())),
        };
        let answers: Vec<_> = spec.metrics.iter().zip(&self.answers).map(read).collect();
        let look = Look {
            uid: &header.uid,
            namespace: "ns",
            spec: &spec,
            scale: self.scale.clone(),
            pods: &self.pods,
            answers: &answers,
            now: self.now,
        };
        decide(&mut self.autoscaler, &look, Report::begin(header, object, self.now))
    }

    /// These objects are all that there are.
    fn known(&mut self, objects: &[&Value]) {
        let stored: Vec<_> = objects.iter().map(|object| crate::testing::stored(object)).collect();
        self.autoscaler.observe(stored.iter().map(|object| &*object.header), self.now);
    }

    /// Looks once; returns the change and the plan, the status being written.
    fn look(&mut self) -> (Option<Rescale>, Plan) {
        let object = self.object.clone();
        self.known(&[&object]);
        let (rescale, plan) = self.decide(&object, |autoscaler, look, mut report| {
            let rescale = autoscaler.decide(look, &mut report);
            if let Some(rescale) = &rescale {
                autoscaler.rescaled(look, rescale, Ok(()), &mut report);
            }
            (rescale, report.plan())
        });
        if let Some(rescale) = &rescale {
            self.scale.replicas = rescale.replicas;
        }
        if let [Action::Change { changes, .. }] = plan.actions.as_slice()
            && let [Change::Put(_, status)] = changes.as_slice()
        {
            self.object["status"] = status.clone();
        }
        (rescale, plan)
    }

    fn replicas_after_look(&mut self) -> i64 {
        self.look();
        self.scale.replicas
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let found =
            crate::controllers::condition(&self.object["status"], kind).expect("the condition is set");
        (access::text(found, &["status"]).to_owned(), access::text(found, &["reason"]).to_owned())
    }
}

fn pod(name: &str, phase: &str, ready: bool) -> AutoscaledPod {
    let ready = if ready { "True" } else { "False" };
    AutoscaledPod::read(&json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "128Mi"}}}]},
        "status": {"phase": phase, "startTime": crate::rows::rfc3339(STARTED), "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": crate::rows::rfc3339(STARTED + 10)}]},
    }))
}

/// Conditions and Events, causes below their effects so that lines stay short.
fn told(case: &Case, plan: &Plan) -> String {
    let status = &case.object["status"];
    let mut out = format!("replicas {}\n", case.scale.replicas);
    for condition in access::list(status, &["conditions"]) {
        let text = |member| access::text(condition, &[member]);
        out += &format!("{} {} {}: {}\n", text("type"), text("status"), text("reason"), text("message"));
    }
    for event in &plan.events {
        out += &format!("{}: {}\n", event.reason, event.message);
    }
    out.replace(": ", ":\n  ")
}

fn check(case: &mut Case, expected: Expect) {
    let (_, plan) = case.look();
    expected.assert_eq(&told(case, &plan));
}

#[test]
fn without_a_metrics_api_the_size_stays() {
    let mut case = Case::of_cpu(80, &["", "", ""]);
    case.answers =
        vec![Err("the server could not find the requested resource (get pods.metrics.k8s.io)".to_owned())];
    check(
        &mut case,
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
    let (_, again) = case.look();
    assert!(again.is_empty() && again.events.is_empty(), "{again:#?}");
}

#[test]
fn the_bounds_hold_without_metrics() {
    for (before, after, why) in [
        (19, 10, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ] {
        let mut case = Case::of_cpu(80, &["100m"]);
        case.scale.replicas = before;
        let (rescale, plan) = case.look();
        assert_eq!(rescale, Some(Rescale { replicas: after, reason: why.to_owned() }));
        assert_eq!(plan.events[0].message, format!("New size: {after}; reason: {why}"));
        let status = &case.object["status"];
        assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(before), &json!(after)));
        assert!(status["lastScaleTime"].is_string() && status["currentMetrics"].is_null());
    }
}

#[test]
fn a_target_of_size_zero_is_left_alone() {
    let mut case = Case::of_cpu(80, &[]);
    check(
        &mut case,
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
    let case = Case::of_cpu(80, &["100m"]);
    let stored = crate::testing::stored(&case.object);
    let mut report = Report::begin(&stored.header, &case.object, case.now);
    report.no_scale("deployments.apps \"web\" not found");
    let plan = report.plan();
    assert_eq!(plan.events[0].reason, "FailedGetScale");
    let [Action::Change { changes, .. }] = plan.actions.as_slice() else { panic!("{plan:#?}") };
    let Change::Put(_, status) = &changes[0] else { panic!("{changes:#?}") };
    let message = access::text(&status["conditions"][0], &["message"]);
    assert_eq!(
        message,
        "the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found"
    );
}

#[test]
fn a_refused_change_is_told_and_tried_again() {
    let mut case = Case::of_cpu(50, &["500m", "500m"]);
    let object = case.object.clone();
    case.known(&[&object]);
    let (rescale, plan) = case.decide(&object, |autoscaler, look, mut report| {
        let rescale = autoscaler.decide(look, &mut report).expect("it is above its target");
        autoscaler.rescaled(look, &rescale, Err("exceeded quota".to_owned()), &mut report);
        (rescale, report.plan())
    });
    let text = "New size: 4; reason: cpu resource utilization (percentage of request) above target; \
                error: exceeded quota";
    assert_eq!((plan.events[0].reason, plan.events[0].message.as_str()), ("FailedRescale", text));
    let (again, _) = case.look();
    assert_eq!(again, Some(rescale));
}

#[test]
fn scales_without_a_selector_and_shared_pods_are_refused() {
    let mut case = Case::of_cpu(80, &["100m", "100m"]);
    case.scale.selector = String::new();
    case.look();
    assert_eq!(case.condition("ScalingActive"), ("False".to_owned(), "InvalidSelector".to_owned()));
    case.scale.selector = "app in (".to_owned();
    case.look();
    assert_eq!(case.condition("ScalingActive"), ("False".to_owned(), "InvalidSelector".to_owned()));

    let mut case = Case::of_cpu(80, &["100m", "100m"]);
    case.look();
    let mut other = case.object.clone();
    other["metadata"]["name"] = "also".into();
    other["metadata"]["uid"] = "v".into();
    let object = case.object.clone();
    case.known(&[&object, &other]);
    let plan = case.decide(&other, |autoscaler, look, mut report| {
        assert_eq!(autoscaler.decide(look, &mut report), None);
        report.plan()
    });
    let text = "pods by selector app=web are controlled by multiple HPAs: [{web ns} {also ns}]";
    assert_eq!(plan.events[0].message, text);
}
