//! Nodes that do not answer: taints that keep Pods away, Pods that are marked, and after their patience are evicted.

use serde_json::{Value, json};
use shim_model::access;

use super::{Action, Change, EventRecord, Plan, Propagation, Target, condition, served};
use crate::{
    rows::{Node, Pod, Seconds, Taint, TaintEffect, rfc3339, seconds},
    scheduler::Toleration,
};

/// The controller's name in Events.
pub const COMPONENT: &str = "node-controller";

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What to do next about a Node: its taints follow its condition.
pub fn reconcile(node: &Node, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let wanted = wanted_taints(node, now);
    if wanted != node.taints {
        let taints: Vec<Value> = wanted.iter().map(Taint::to_value).collect();
        let target = Target::of(served("", "nodes"), node.header());
        let change = if taints.is_empty() {
            Change::Merge(json!({"spec": {"taints": null}}))
        } else {
            Change::Put(&["spec", "taints"], Value::from(taints))
        };
        plan.actions.push(Action::Change { target, subresource: None, changes: vec![change] });
    }
    plan
}

fn wanted_taints(node: &Node, now: Seconds) -> Vec<Taint> {
    let down = match node.ready {
        // Nobody has reported for it yet: it is neither up nor down.
        Some(Some(true)) | None => None,
        Some(Some(false)) => Some(NOT_READY),
        Some(None) => Some(UNREACHABLE),
    };
    let mut wanted: Vec<(&str, TaintEffect)> = Vec::new();
    if let Some(key) = down {
        wanted.extend([(key, TaintEffect::NoSchedule), (key, TaintEffect::NoExecute)]);
    }
    if node.unschedulable {
        wanted.push((UNSCHEDULABLE, TaintEffect::NoSchedule));
    }
    let ours = |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&&*taint.key);
    let is = |taint: &Taint, key: &str, effect| *taint.key == *key && taint.effect == effect;
    let mut taints: Vec<Taint> = node
        .taints
        .iter()
        .filter(|t| !ours(t) || wanted.iter().any(|(key, effect)| is(t, key, *effect)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|t| is(t, key, effect)) {
            taints.push(Taint { key: key.into(), value: "".into(), effect, added: Some(now) });
        }
    }
    // Others' taints do not say since when, and the patience of Pods is counted from there.
    for taint in taints.iter_mut().filter(|t| t.effect == TaintEffect::NoExecute) {
        taint.added.get_or_insert(now);
    }
    taints
}

/// What to do next about a Pod on a Node, whose `NoExecute` taints it may not tolerate for ever. `status` is the Pod's.
pub fn reconcile_pod(pod: &Pod, status: &Value, node: &Node, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let target = Target::of(served("", "pods"), pod.header());
    if node.ready != Some(Some(true)) && !pod.phase.is_terminal() {
        mark_not_ready(&target, status, now, &mut plan);
    }
    if pod.deletion.is_some() {
        return plan;
    }
    match toleration_deadline(pod, status, node, now) {
        TolerationDeadline::Endless => {}
        TolerationDeadline::Until(at) if at > now => plan.requeue_after(at - now),
        TolerationDeadline::Until(_) => {
            plan.events.push(EventRecord {
                about: target.clone(),
                warning: false,
                reason: "TaintManagerEviction",
                message: format!("Marking for deletion Pod {}", target.key),
                component: "taint-eviction-controller",
            });
            let action = Action::Delete { target, propagation: Propagation::Background, grace_seconds: None };
            plan.actions.push(action);
        }
    }
    plan
}

fn mark_not_ready(target: &Target, status: &Value, now: Seconds, plan: &mut Plan) {
    let Some(ready) = condition(status, "Ready") else { return };
    if access::text(ready, &["status"]) != "True" {
        return;
    }
    let mut conditions = access::list(status, &["conditions"]).to_vec();
    for ready in conditions.iter_mut().filter(|c| access::text(c, &["type"]) == "Ready") {
        ready["status"] = Value::from("False");
        ready["lastTransitionTime"] = Value::from(rfc3339(now));
    }
    let changes = vec![Change::Put(&["status", "conditions"], Value::from(conditions))];
    plan.actions.push(Action::Change { target: target.clone(), subresource: Some("status"), changes });
    plan.events.push(EventRecord {
        about: target.clone(),
        warning: true,
        reason: "NodeNotReady",
        message: "Node is not ready".to_owned(),
        component: COMPONENT,
    });
}

enum TolerationDeadline {
    Endless,
    Until(Seconds),
}

/// How long the Pod may stay: until the first of the node's `NoExecute` taints that it does not tolerate any longer. One
/// that came to a tainted node has its full patience from then on.
fn toleration_deadline(pod: &Pod, status: &Value, node: &Node, now: Seconds) -> TolerationDeadline {
    let scheduled = condition(status, "PodScheduled").map(|c| access::text(c, &["lastTransitionTime"]));
    let came = scheduled.and_then(seconds).unwrap_or(pod.created);
    let mut until: Option<Seconds> = None;
    for taint in node.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute) {
        let tolerating: Vec<&Toleration> =
            pod.shape.tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        let since = taint.added.unwrap_or(now).max(came);
        let limit = if tolerating.is_empty() {
            Some(since)
        } else {
            tolerating.iter().filter_map(|t| t.seconds).min().map(|s| since + s.max(0))
        };
        if let Some(limit) = limit {
            until = Some(until.map_or(limit, |u| u.min(limit)));
        }
    }
    until.map_or(TolerationDeadline::Endless, TolerationDeadline::Until)
}

#[cfg(test)]
#[path = "node_lifecycle/tests.rs"]
mod tests;
