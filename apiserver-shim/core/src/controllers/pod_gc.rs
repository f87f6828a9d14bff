//! The Pod garbage collector: deletes Pods that no node will end, because their node is gone or they were deleted before
//! they were bound.

use serde_json::json;

use super::{
    Action, Change, Controller, Disruption, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target,
    View, served,
};
use crate::rows::{Key, Node, ObjectView, Pod, Seconds};

/// How long a node must be missing before its Pods are deleted: it may be registering again. As upstream.
pub const QUARANTINE: Seconds = 40;

const DISRUPTION: Disruption =
    Disruption { reason: "DeletionByPodGC", message: "PodGC: node no longer exists" };

/// Deletes Pods that no node will end.
pub struct PodGarbageCollector;

impl Controller for PodGarbageCollector {
    const NAME: &'static str = "pod-garbage-collector-controller";
    const SERVICE_ACCOUNT: &'static str = "pod-garbage-collector";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Pod>(), Input::views::<Node>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "pods") {
            let orphaned = change.object.view::<Pod>().is_some_and(|pod| match pod.node() {
                Some(node) => view.get::<Node>(&Key::new("", node)).is_none(),
                None => pod.deletion.is_some(),
            });
            if orphaned && !change.is_deletion() {
                keys.insert(change.name());
            }
        } else if change.is_deletion() {
            let pods = view.on_node::<Pod>(&change.header().name);
            keys.extend(pods.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(pod) = view.get::<Pod>(&key.key) else { return Plan::default() };
        plan(pod, pod.node().and_then(|node| view.node_missing_since(node)), view.now)
    }
}

/// `node_missing_since` is set if the Pod is bound to a node that does not exist.
pub(super) fn plan(pod: &Pod, node_missing_since: Option<Seconds>, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let target = Target::of(served("", "pods"), pod.header());
    if let Some(since) = node_missing_since.filter(|_| pod.node.is_some()) {
        if since + QUARANTINE > now {
            plan.requeue_after(since + QUARANTINE - now);
            return plan;
        }
        if !pod.phase.is_terminal() {
            let failed = Change::Merge(json!({"status": {"phase": "Failed"}}));
            let changes = vec![failed, Change::Disrupt(DISRUPTION, now)];
            plan.actions.push(Action::Change {
                target: target.clone(),
                subresource: Some("status"),
                changes,
            });
        }
        plan.actions.extend(force_delete(pod, target));
    } else if pod.node.is_none() && pod.deletion.is_some() && pod.scheduler_name.is_none() {
        plan.actions.extend(force_delete(pod, target));
    }
    plan
}

/// Nothing if the Pod is deleted without grace already, and only finalizers hold it.
fn force_delete(pod: &Pod, target: Target) -> Option<Action> {
    let forced = pod.deletion.is_some() && pod.header().deletion_grace_period_seconds == Some(0);
    let action = Action::Delete { target, propagation: Propagation::Background, grace_seconds: Some(0) };
    (!forced).then_some(action)
}
