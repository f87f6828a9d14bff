//! The Pod garbage collector: deletes Pods that no node will end, because their node is gone or out of service, or they
//! were deleted before they were bound; and the oldest of the Pods that have ended, if there are too many.

use serde_json::json;

use super::{
    Action, Change, Controller, Disruption, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target,
    View, served,
};
use crate::rows::{Key, Node, ObjectView, Pod, Seconds};

/// How long a node must be missing before its Pods are deleted: it may be registering again. As upstream.
pub const QUARANTINE: Seconds = 40;

/// How long a deleted Pod that finalizers hold may stay as it is without a node: upstream looks for such Pods this often.
const UNBOUND: Seconds = 20;

/// How many Pods that have ended are kept, as upstream's `--terminated-pod-gc-threshold`.
const ENDED_MAX: usize = 12_500;

/// How many keys of surplus Pods one change adds. The deletion of each of them is a change again.
const SURPLUS_MAX: usize = 100;

/// The taint of a node that will not come back by itself.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

const DISRUPTION: Disruption =
    Disruption { reason: "DeletionByPodGC", message: "PodGC: node no longer exists" };

/// Deletes Pods that no node will end, and Pods that have ended beyond a number.
pub struct PodGarbageCollector {
    ended_max: usize,
}

impl Default for PodGarbageCollector {
    fn default() -> PodGarbageCollector {
        PodGarbageCollector { ended_max: ENDED_MAX }
    }
}

impl Controller for PodGarbageCollector {
    const NAME: &'static str = "pod-garbage-collector-controller";
    const SERVICE_ACCOUNT: &'static str = "pod-garbage-collector";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Pod>(), Input::views::<Node>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "pods") {
            let orphaned = change.object.view::<Pod>().is_some_and(|pod| match pod.node() {
                Some(node) => view.get::<Node>(&Key::new("", node)).is_none_or(|node| ends_never(pod, node)),
                None => pod.deletion.is_some(),
            });
            if orphaned && !change.is_deletion() {
                keys.insert(change.name());
            }
            let surplus = view.ended_pods_beyond(self.ended_max).take(SURPLUS_MAX);
            keys.extend(surplus.map(|key| ObjectName { resource: served("", "pods"), key: key.clone() }));
        } else if change.is_deletion() {
            let pods = view.on_node::<Pod>(&change.header().name);
            keys.extend(pods.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        } else if let Some(node) = change.object.view::<Node>() {
            let pods = view.on_node::<Pod>(&change.header().name).filter(|pod| ends_never(pod, node));
            keys.extend(pods.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(pod) = view.get::<Pod>(&key.key) else { return Plan::default() };
        if let Some(node) = pod.node().and_then(|node| view.get::<Node>(&Key::new("", node)))
            && ends_never(pod, node)
        {
            return ended(pod);
        }
        if view.is_ended_pod_beyond(pod, self.ended_max) {
            return ended(pod);
        }
        plan(pod, pod.node().and_then(|node| view.node_missing_since(node)), view.now)
    }
}

/// Whether a Pod is being deleted on a node that an administrator has declared out of service.
fn ends_never(pod: &Pod, node: &Node) -> bool {
    let out = node.taints.iter().any(|taint| &*taint.key == OUT_OF_SERVICE);
    out && node.ready != Some(Some(true)) && pod.deletion.is_some()
}

fn ended(pod: &Pod) -> Plan {
    let mut plan = Plan::default();
    end(pod, Vec::new(), &mut plan);
    plan
}

/// Fails a Pod that has not ended, and deletes it.
fn end(pod: &Pod, conditions: Vec<Change>, plan: &mut Plan) {
    let target = Target::of(served("", "pods"), pod.header());
    if !pod.phase.is_terminal() {
        let mut changes = vec![Change::Merge(json!({"status": {"phase": "Failed"}}))];
        changes.extend(conditions);
        plan.actions.push(Action::Change { target: target.clone(), subresource: Some("status"), changes });
    }
    plan.actions.extend(force_delete(pod, target));
}

/// `node_missing_since` is set if the Pod is bound to a node that does not exist.
pub(super) fn plan(pod: &Pod, node_missing_since: Option<Seconds>, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    if let Some(since) = node_missing_since.filter(|_| pod.node.is_some()) {
        if since + QUARANTINE > now {
            plan.requeue_after(since + QUARANTINE - now);
            return plan;
        }
        end(pod, vec![Change::Disrupt(DISRUPTION, now)], &mut plan);
    } else if pod.node.is_none()
        && let Some(deletion) = pod.deletion
        && pod.scheduler_name.is_none()
    {
        if pod.header().finalizers.is_empty() {
            plan.actions.extend(force_delete(pod, Target::of(served("", "pods"), pod.header())));
        } else if pod.phase.is_terminal() || deletion + UNBOUND <= now {
            // No node will say that it has ended, and what holds it may wait for that, as Jobs do.
            end(pod, Vec::new(), &mut plan);
        } else {
            plan.requeue_after(deletion + UNBOUND - now);
        }
    }
    plan
}

/// Nothing if the Pod is deleted without grace already, and only finalizers hold it.
fn force_delete(pod: &Pod, target: Target) -> Option<Action> {
    let forced = pod.deletion.is_some() && pod.header().deletion_grace_period_seconds == Some(0);
    let action = Action::Delete { target, propagation: Propagation::Background, grace_seconds: Some(0) };
    (!forced).then_some(action)
}

#[cfg(test)]
#[path = "pod_gc/tests.rs"]
mod tests;
