//! The HorizontalPodAutoscaler controller: keeps the size of a workload within `minReplicas` and `maxReplicas`.
//!
//! It does not read metrics yet. A size within the bounds stays as it is, and the condition `ScalingActive` is false with
//! upstream's reason for metrics that cannot be had.

mod metrics;

use serde_json::{Value, json};
use shim_model::access;

use super::{
    Action, Change, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Target, View, condition, served,
};
use crate::rows::{HorizontalPodAutoscaler, Seconds, rfc3339};

/// The source of its Events.
pub const COMPONENT: &str = "horizontal-pod-autoscaler";

/// Seconds between two looks at a target, as upstream's `--horizontal-pod-autoscaler-sync-period`.
const SYNC_SECONDS: i64 = 15;

/// The workloads that are scaled, by `spec.replicas`.
const WORKLOADS: [(&str, &str, &str); 4] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "ReplicaSet", "replicasets"),
    ("apps", "StatefulSet", "statefulsets"),
    ("", "ReplicationController", "replicationcontrollers"),
];

/// Scales workloads. Its keys are HorizontalPodAutoscalers.
pub struct AutoscalerController;

impl Controller for AutoscalerController {
    const NAME: &'static str = "horizontal-pod-autoscaler-controller";
    const SERVICE_ACCOUNT: &'static str = "horizontal-pod-autoscaler";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::views::<HorizontalPodAutoscaler>(),
            Input::headers("apps", "deployments"),
            Input::headers("apps", "replicasets"),
            Input::headers("apps", "statefulsets"),
            Input::headers("", "replicationcontrollers"),
            Input::headers("apiregistration.k8s.io", "apiservices"),
        ]
    }

    fn keys(&self, change: &ObjectChange, _view: &View<'_>, keys: &mut Keys) {
        // Targets and APIs are looked at every fifteen seconds.
        if change.is_of("autoscaling", "horizontalpodautoscalers") {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(scaler) = view.get::<HorizontalPodAutoscaler>(&key.key) else { return Plan::default() };
        if scaler.header().deletion_timestamp.is_some() {
            return Plan::default();
        }
        // Upstream queues a new one for the end of the first period, so that a client finds what it has just created.
        let age = crate::rows::seconds(&scaler.header().creation_timestamp).map(|made| view.now - made);
        if let Some(left) = age.map(|age| SYNC_SECONDS - age).filter(|left| *left > 0) {
            let mut plan = Plan::default();
            plan.requeue_after(left);
            return plan;
        }
        let served_apis =
            |name: &str| view.object(&served("apiregistration.k8s.io", "apiservices"), "", name).is_some();
        plan(&Snapshot { scaler, workload: find(scaler, view), serves: &served_apis, now: view.now })
    }
}

/// What a HorizontalPodAutoscaler scales.
struct Workload {
    target: Target,
    replicas: i64,
    /// Its version when the replicas were read.
    revision: u64,
}

/// The target of a HorizontalPodAutoscaler, or why its scale cannot be read.
fn find(scaler: &HorizontalPodAutoscaler, view: &View<'_>) -> Result<Workload, String> {
    let text = |member| access::text(&scaler.target, &[member]);
    let (group, _) = shim_model::resource::split_api_version(text("apiVersion"));
    let known = WORKLOADS.iter().find(|(own, kind, _)| *own == group && *kind == text("kind"));
    let Some((group, _, plural)) = known else {
        return Err(format!("scaling {} of group \"{group}\" is not supported yet", text("kind")));
    };
    let resource = served(group, plural);
    let Some(found) = view.object(&resource, &scaler.header().namespace, text("name")) else {
        return Err(format!("{resource} \"{}\" not found", text("name")));
    };
    let replicas = access::int(&found.value(), &["spec", "replicas"]).unwrap_or(1);
    Ok(Workload { target: Target::of(resource, found.header()), replicas, revision: found.revision })
}

/// What one reconcile reads.
struct Snapshot<'a> {
    scaler: &'a HorizontalPodAutoscaler,
    workload: Result<Workload, String>,
    /// Whether an APIService has this name.
    serves: &'a dyn Fn(&str) -> bool,
    now: Seconds,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let scaler = snapshot.scaler;
    let about = Target::of(served("autoscaling", "horizontalpodautoscalers"), scaler.header());
    let mut work = Work {
        status: if scaler.status.is_object() { scaler.status.clone() } else { json!({}) },
        now: snapshot.now,
        plan: Plan::default(),
        about: about.clone(),
    };
    match &snapshot.workload {
        Err(why) => {
            work.tell(true, "FailedGetScale", why.clone());
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            work.set("AbleToScale", false, "FailedGetScale", &message);
        }
        Ok(workload) => scale(&mut work, snapshot, workload),
    }
    let Work { status, mut plan, .. } = work;
    if status == scaler.status {
        // Told already.
        plan.events.clear();
    } else {
        let changes = vec![Change::Put(&["status"], status)];
        plan.actions.push(Action::Change { target: about, subresource: Some("status"), changes });
    }
    plan.requeue_after(SYNC_SECONDS);
    plan
}

fn scale(work: &mut Work, snapshot: &Snapshot<'_>, workload: &Workload) {
    let scaler = snapshot.scaler;
    let message = "the HPA controller was able to get the target's current scale";
    work.set("AbleToScale", true, "SucceededGetScale", message);
    let current = workload.replicas;
    work.status["currentReplicas"] = current.into();
    let (wanted, why) = if current == 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        work.set("ScalingActive", false, "ScalingDisabled", message);
        work.status["desiredReplicas"] = 0.into();
        return;
    } else if current > scaler.max_replicas {
        (scaler.max_replicas, "Current number of replicas above Spec.MaxReplicas")
    } else if current < scaler.min_replicas {
        (scaler.min_replicas, "Current number of replicas below Spec.MinReplicas")
    } else {
        metrics::report(work, &scaler.metrics, &scaler.header().namespace, snapshot.serves);
        return;
    };
    work.plan.actions.push(Action::Change {
        target: workload.target.clone(),
        subresource: None,
        // What somebody else has written meanwhile stands: the write is refused and the plan made anew.
        changes: vec![Change::Merge(json!({
            "metadata": {"resourceVersion": workload.revision.to_string()},
            "spec": {"replicas": wanted},
        }))],
    });
    let message = format!("the HPA controller was able to update the target scale to {wanted}");
    work.set("AbleToScale", true, "SucceededRescale", &message);
    work.tell(false, "SuccessfulRescale", format!("New size: {wanted}; reason: {why}"));
    work.status["desiredReplicas"] = wanted.into();
    work.status["lastScaleTime"] = rfc3339(snapshot.now).into();
}

/// The status and plan in the making.
struct Work {
    status: Value,
    now: Seconds,
    plan: Plan,
    about: Target,
}

impl Work {
    fn tell(&mut self, warning: bool, reason: &'static str, message: String) {
        let source = EventSource::Component(COMPONENT);
        self.plan.events.push(EventRecord { about: self.about.clone(), warning, reason, message, source });
    }

    /// Sets a condition in place. `lastTransitionTime` changes with the status only.
    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let status = if holds { "True" } else { "False" };
        let since = condition(&self.status, kind)
            .filter(|old| access::text(old, &["status"]) == status)
            .and_then(|old| old.get("lastTransitionTime").cloned())
            .unwrap_or_else(|| rfc3339(self.now).into());
        let new = json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        });
        let list = access::object_mut(&mut self.status, &[]).entry("conditions").or_insert_with(|| json!([]));
        if !list.is_array() {
            *list = json!([]);
        }
        let list = list.as_array_mut().expect("invariant: the line above made it a list");
        match list.iter_mut().find(|old| access::text(old, &["type"]) == kind) {
            Some(old) => *old = new,
            None => list.push(new),
        }
    }
}

#[cfg(test)]
#[path = "autoscaler/tests.rs"]
mod tests;
