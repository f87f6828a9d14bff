//! The node lifecycle controller: a Node's taints follow its conditions, and the Pods of a Node that is not ready are
//! marked not ready.

use serde_json::{Value, json};
use shim_model::access;

use super::{
    Action, Change, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Target, View, condition, served,
};
use crate::rows::{Key, Node, ObjectView, Pod, Seconds, Taint, TaintEffect, rfc3339};

/// The source of its Events.
pub const COMPONENT: &str = "node-controller";

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";

/// Taints Nodes by their conditions and marks their Pods. Its keys are Nodes and Pods.
pub struct NodeLifecycleController;

impl Controller for NodeLifecycleController {
    const NAME: &'static str = "node-lifecycle-controller";
    const SERVICE_ACCOUNT: &'static str = "node-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Node>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_deletion() {
            return;
        }
        if let Some(node) = change.object.view::<Node>() {
            keys.insert(change.name());
            // Those that differ from the Node: of a Node that is ready again, those that are not.
            let differs = |pod: &&Pod| !node.is_ready() || pod.ready_since.is_none();
            let pods = view.on_node::<Pod>(node.name()).filter(differs);
            keys.extend(pods.map(|pod| ObjectName::of(served("", "pods"), pod.header())));
        }
        let Some(pod) = change.object.view::<Pod>() else { return };
        let node = pod.node().and_then(|node| view.get::<Node>(&Key::new("", node)));
        if node.is_some_and(|node| !node.is_ready() || pod.ready_since.is_none()) {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        if key.resource.resource() == "nodes" {
            return view.get::<Node>(&key.key).map_or_else(Plan::default, |node| taint(node, view.now));
        }
        let Some(pod) = view.get::<Pod>(&key.key) else { return Plan::default() };
        let node = pod.node().and_then(|node| view.get::<Node>(&Key::new("", node)));
        match node {
            Some(_) if pod.phase.is_terminal() => Plan::default(),
            Some(node) if node.is_ready() => mark_ready_again(pod, view.now),
            Some(_) => mark_not_ready(pod, view.now),
            None => Plan::default(),
        }
    }
}

/// Brings the taints of a Node up to date with its conditions.
fn taint(node: &Node, now: Seconds) -> Plan {
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
        // No status has been reported yet.
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
    if node.disk_pressure {
        wanted.push((DISK_PRESSURE, TaintEffect::NoSchedule));
    }
    let ours = |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE, DISK_PRESSURE].contains(&&*taint.key);
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
    // `kubectl taint` sets no time, and `tolerationSeconds` counts from there.
    for taint in taints.iter_mut().filter(|t| t.effect == TaintEffect::NoExecute) {
        taint.added.get_or_insert(now);
    }
    taints
}

/// Sets the `Ready` condition of a Pod to false.
fn mark_not_ready(pod: &Pod, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let status = pod.status_value();
    if condition(&status, "Ready").is_none_or(|ready| access::text(ready, &["status"]) != "True") {
        return plan;
    }
    plan.actions.push(set_ready(pod, &status, "False", now));
    let target = Target::of(served("", "pods"), pod.header());
    plan.events.push(EventRecord {
        about: target,
        warning: true,
        reason: "NodeNotReady",
        message: "Node is not ready".to_owned(),
        source: EventSource::Component(COMPONENT),
    });
    plan
}

/// Takes back what [`mark_not_ready`] has set, which is the only condition without a reason: the node reports a Pod again only when
/// its status changes. Upstream's kubelet compares, and does it.
fn mark_ready_again(pod: &Pod, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let status = pod.status_value();
    let is = |kind: &str, value: &str| {
        condition(&status, kind).is_some_and(|c| access::text(c, &["status"]) == value)
    };
    let explained =
        condition(&status, "Ready").is_some_and(|ready| !access::text(ready, &["reason"]).is_empty());
    if !is("Ready", "False") || explained || !is("ContainersReady", "True") {
        return plan;
    }
    plan.actions.push(set_ready(pod, &status, "True", now));
    plan
}

fn set_ready(pod: &Pod, status: &Value, ready: &str, now: Seconds) -> Action {
    let mut conditions = access::list(status, &["conditions"]).to_vec();
    for condition in conditions.iter_mut().filter(|c| access::text(c, &["type"]) == "Ready") {
        condition["status"] = Value::from(ready);
        condition["lastTransitionTime"] = Value::from(rfc3339(now));
    }
    let changes = vec![Change::Put(&["status", "conditions"], Value::from(conditions))];
    let target = Target::of(served("", "pods"), pod.header());
    Action::Change { target, subresource: Some("status"), changes }
}

#[cfg(test)]
#[path = "node_lifecycle/tests.rs"]
mod tests;
