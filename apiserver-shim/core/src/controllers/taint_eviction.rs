//! The taint eviction controller: deletes Pods that do not, or no longer, tolerate a `NoExecute` taint of their node.

use shim_model::access;

use super::{
    Action, Controller, Disruption, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Propagation, Target, View, condition, served,
};
use crate::{
    rows::{Key, Node, ObjectView, Pod, Seconds, TaintEffect, seconds},
    scheduler::Toleration,
};

const DISRUPTION: Disruption = Disruption {
    reason: "DeletionByTaintManager",
    message: "Taint manager: deleting due to NoExecute taint",
};

/// Deletes Pods by taints. Its keys are Pods.
pub struct TaintEvictionController;

impl Controller for TaintEvictionController {
    const NAME: &'static str = "taint-eviction-controller";
    const SERVICE_ACCOUNT: &'static str = "node-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Node>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_deletion() {
            return;
        }
        if let Some(node) = change.object.view::<Node>().filter(|node| evicts(node)) {
            let pods = view.on_node::<Pod>(node.name());
            keys.extend(pods.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        }
        let node = change.object.view::<Pod>().and_then(Pod::node);
        let node = node.and_then(|node| view.get::<Node>(&Key::new("", node)));
        if node.is_some_and(evicts) {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(pod) = view.get::<Pod>(&key.key).filter(|pod| pod.deletion.is_none()) else { return plan };
        let node = pod.node().and_then(|node| view.get::<Node>(&Key::new("", node)));
        let Some(node) = node.filter(|node| evicts(node)) else { return plan };
        match toleration_deadline(pod, node, view) {
            TolerationDeadline::Never => {}
            TolerationDeadline::At(at) if at > view.now => plan.requeue_after(at - view.now),
            TolerationDeadline::At(_) => {
                let target = Target::of(served("", "pods"), pod.header());
                plan.events.push(EventRecord {
                    about: target.clone(),
                    warning: false,
                    reason: "TaintManagerEviction",
                    message: format!("Marking for deletion Pod {}", target.key),
                    source: EventSource::Component(Self::NAME),
                });
                plan.actions.push(DISRUPTION.action(target.clone(), view.now));
                plan.actions.push(Action::Delete {
                    target,
                    propagation: Propagation::Background,
                    grace_seconds: None,
                });
            }
        }
        plan
    }
}

fn evicts(node: &Node) -> bool {
    node.taints.iter().any(|taint| taint.effect == TaintEffect::NoExecute)
}

/// Until when a Pod tolerates the taints of its node.
enum TolerationDeadline {
    Never,
    At(Seconds),
}

/// The first time at which the Pod no longer tolerates one of the node's `NoExecute` taints. `tolerationSeconds` counts from
/// the latest of the taint, the Pod's binding, and the start of the controllers: after a stop of the whole cluster, Nodes have
/// time to come back.
fn toleration_deadline(pod: &Pod, node: &Node, view: &View<'_>) -> TolerationDeadline {
    let status = pod.status_value();
    let scheduled = condition(&status, "PodScheduled").map(|c| access::text(c, &["lastTransitionTime"]));
    let bound_at = scheduled.and_then(seconds).unwrap_or(pod.created);
    let mut until: Option<Seconds> = None;
    for taint in node.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute) {
        let tolerating: Vec<&Toleration> =
            pod.shape.tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        let since = taint.added.unwrap_or(view.now).max(bound_at).max(view.started_at());
        let limit = if tolerating.is_empty() {
            Some(since)
        } else {
            tolerating.iter().filter_map(|t| t.seconds).min().map(|s| since + s.max(0))
        };
        if let Some(limit) = limit {
            until = Some(until.map_or(limit, |u| u.min(limit)));
        }
    }
    until.map_or(TolerationDeadline::Never, TolerationDeadline::At)
}

#[cfg(test)]
#[path = "taint_eviction/tests.rs"]
mod tests;
