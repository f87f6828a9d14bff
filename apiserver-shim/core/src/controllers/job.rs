//! The Job controller: runs Pods until enough of them have succeeded, or too many have failed.
//!
//! Each Pod is counted exactly once, whenever the process ends. A Pod has the finalizer [`FINALIZER`] until it is counted, so it
//! cannot vanish. When it has ended, its UID (or its completion index) is first written to the status, then the finalizer is
//! removed, then the UID is replaced by an incremented counter. The writes of a plan are in this order, and a plan ends at the
//! first failure; each reconcile continues from what is stored.
//!
//! Reading order: this file (keys, the Pods of Jobs that are gone), `sync` (one reconcile), `tracking` (the counting).

mod backoff;
mod intervals;
mod pods;
mod policies;
mod status;
mod sync;
mod tracking;

use shim_model::object::Header;

use super::{
    Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Refusal, View, owned_pods,
    served,
};
use crate::rows::{Job, Key, Pod, Seconds};

/// The source of its Events.
pub const COMPONENT: &str = "job-controller";

/// The finalizer of Pods that are not counted yet.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Maximum number of Pods that one plan creates, and that it deletes from a Job that goes on. As upstream; the next reconcile
/// continues.
const BURST_MAX: usize = 500;

/// Runs Jobs.
pub struct JobController;

/// What one reconcile of a Job reads.
struct Snapshot<'a> {
    job: &'a Job,
    /// Every Pod that the Job controls, or that it selects and that has no controller.
    pods: Vec<&'a Pod>,
    /// Why the last plan was refused.
    refused: Option<&'a Refusal>,
    now: Seconds,
}

impl Controller for JobController {
    const NAME: &'static str = "job-controller";
    const SERVICE_ACCOUNT: &'static str = "job-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Job>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if !change.is_of("batch", "jobs") {
            change.headers().for_each(|pod| keys_of_pod(pod, view, keys));
            return;
        }
        keys.insert(change.name());
        let Some(job) = change.object.view::<Job>() else { return };
        if change.is_deletion() || job.finished().is_some() {
            let tracked = candidates(view, job).into_iter().filter(|pod| pods::is_tracked(pod.header()));
            keys.extend(tracked.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        if key.resource.parts() == ("", "pods") {
            return release_orphan(view, key);
        }
        let Some(job) = view.get::<Job>(&key.key) else { return Plan::default() };
        if !job.is_managed() {
            return Plan::default();
        }
        let pods = candidates(view, job);
        sync::plan(&Snapshot { job, pods, refused: view.refusal, now: view.now })
    }
}

/// The Pods that a Job controls, and those that it selects and that have no controller.
fn candidates<'a>(view: &View<'a>, job: &Job) -> Vec<&'a Pod> {
    owned_pods::related(view, job.header(), &job.selector)
}

/// The Job that controls a Pod; for a Pod without a controller, every Job that selects it. A Pod whose finalizer no Job will
/// remove is a key of its own.
fn keys_of_pod(pod: &Header, view: &View<'_>, keys: &mut Keys) {
    if is_orphan(pod, view) {
        keys.insert(ObjectName::of(served("", "pods"), pod));
    }
    owned_pods::keys_of_owner::<Job>(pod, "Job", view, keys);
}

/// Whether a Pod has the tracking finalizer and no Job will remove it: its Job is gone or has finished, or it has none, and none
/// adopts it.
fn is_orphan(pod: &Header, view: &View<'_>) -> bool {
    if !pods::is_tracked(pod) {
        return false;
    }
    let Some(owner) = pod.controller() else {
        let selecting = view.selecting::<Job>(&pod.namespace, &pod.labels);
        return pod.deletion_timestamp.is_some() || !selecting.iter().any(|job| job.adopts());
    };
    if owner.kind != "Job" || owner.api_version != "batch/v1" {
        return false;
    }
    let job = view.get::<Job>(&Key::new(&pod.namespace, &owner.name));
    match job.filter(|job| job.header().uid == owner.uid) {
        None => true,
        Some(job) => job.finished().is_some() && job.external_manager().is_none(),
    }
}

fn release_orphan(view: &View<'_>, key: &ObjectName) -> Plan {
    let mut plan = Plan::default();
    if let Some(pod) = view.get::<Pod>(&key.key).filter(|pod| is_orphan(pod.header(), view)) {
        let target = owned_pods::target(pod);
        let changes = vec![Change::RemoveFinalizer(FINALIZER)];
        plan.actions.push(Action::Change { target, subresource: None, changes });
    }
    plan
}

#[cfg(test)]
#[path = "job/tests.rs"]
mod tests;
