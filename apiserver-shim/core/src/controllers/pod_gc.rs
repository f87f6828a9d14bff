//! Pods that nobody will end: bound to a node that is gone, or deleted before they were bound.

use serde_json::json;

use super::{Action, Change, Plan, Propagation, Target, served};
use crate::rows::{Pod, Seconds};

/// How long a node must be gone before its Pods are: it may be registering anew.
pub const QUARANTINE: Seconds = 40;

/// What to do next about a Pod. `node_gone_since` is set if it is bound to a node that does not exist.
pub fn reconcile(pod: &Pod, node_gone_since: Option<Seconds>, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let target = Target::of(served("", "pods"), pod.header());
    if let Some(since) = node_gone_since.filter(|_| pod.node.is_some()) {
        if since + QUARANTINE > now {
            plan.requeue_after(since + QUARANTINE - now);
            return plan;
        }
        if !pod.phase.is_terminal() {
            let status = json!({"status": {
                "phase": "Failed",
                "reason": "NodeLost",
                "message": "the node that ran this pod no longer exists",
            }});
            let changes = vec![Change::Merge(status)];
            plan.actions.push(Action::Change {
                target: target.clone(),
                subresource: Some("status"),
                changes,
            });
        }
        plan.actions.extend(force(pod, target));
    } else if pod.node.is_none() && pod.deletion.is_some() && pod.scheduled_by_us {
        // Nothing runs it: there is nothing to wait for.
        plan.actions.extend(force(pod, target));
    }
    plan
}

/// Unless it is deleted by force already, and only its finalizers hold it.
fn force(pod: &Pod, target: Target) -> Option<Action> {
    let forced = pod.deletion.is_some() && pod.header().deletion_grace_period_seconds == Some(0);
    let action = Action::Delete { target, propagation: Propagation::Background, grace_seconds: Some(0) };
    (!forced).then_some(action)
}
