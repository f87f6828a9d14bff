//! The TTL controller: deletes Jobs some time after they have finished.

use shim_model::access;

use super::{
    Action, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target, View, served,
};
use crate::rows::{Job, Seconds, seconds};

/// Deletes Jobs with `spec.ttlSecondsAfterFinished`.
pub struct TtlAfterFinishedController;

impl Controller for TtlAfterFinishedController {
    const NAME: &'static str = "ttl-after-finished-controller";
    const SERVICE_ACCOUNT: &'static str = "ttl-after-finished-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Job>()]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let expires = change.object.view::<Job>().and_then(expiry).is_some();
        if expires && !change.is_deletion() {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(job) = view.get::<Job>(&key.key) else { return plan };
        match expiry(job) {
            Some(at) if at <= view.now => {
                let target = Target::of(served("batch", "jobs"), job.header());
                let propagation = Propagation::Foreground;
                plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
            }
            Some(at) => plan.requeue_after(at - view.now),
            None => {}
        }
        plan
    }
}

/// When a Job expires; `None` if it has not finished, never expires, or is being deleted.
fn expiry(job: &Job) -> Option<Seconds> {
    let ttl = job.ttl_seconds_after_finished?;
    let finished = job.finished().filter(|_| job.header().deletion_timestamp.is_none())?;
    Some(seconds(access::text(finished, &["lastTransitionTime"]))? + ttl)
}

#[cfg(test)]
#[path = "ttl_after_finished/tests.rs"]
mod tests;
