//! ReplicaSets: keep a number of Pods of one template.
//!
//! There are no expectations here: the shell lets a ReplicaSet be looked at only once the rows hold every write that its
//! last plan made, so what is counted is never older than what was done.

mod ranking;

use serde_json::{Value, json};
use shim_model::access;

use super::{
    Action, Change, Condition, CreationEvents, EventRecord, Plan, Propagation, Target, condition,
    remove_condition, served, set_condition,
};
use crate::rows::{Pod, ReplicaSet, Seconds, controller_reference};

/// The controller's name in Events.
pub const COMPONENT: &str = "replicaset-controller";

/// Pods made or deleted by one plan at most; the rest waits for the next look.
pub const BURST_MAX: usize = 500;

/// All that one look at a ReplicaSet sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The ReplicaSet.
    pub set: &'a ReplicaSet,
    /// Every Pod of its namespace that it controls, or that has no controller and that its selector matches.
    pub pods: Vec<&'a Pod>,
    /// For each node, how many active Pods all ReplicaSets of the same controller have there; sorted by node.
    pub related_on_node: Vec<(&'a str, usize)>,
    /// Why the last attempt to create or delete a Pod was refused, if it was.
    pub refused: Option<Refusal<'a>>,
    /// The time.
    pub now: Seconds,
}

/// A refused write.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Refusal<'a> {
    pub creating: bool,
    pub message: &'a str,
}

/// What to do next about a ReplicaSet.
pub fn reconcile(snapshot: &Snapshot<'_>) -> Plan {
    let set = snapshot.set;
    let mut plan = Plan::default();
    let deleted = set.header().deletion_timestamp.is_some();
    let pods = claim(snapshot, deleted, &mut plan);
    let active: Vec<&Pod> = pods.iter().copied().filter(|p| p.is_active()).collect();
    let wanted = usize::try_from(set.replicas).unwrap_or(0);
    if !deleted {
        match active.len().cmp(&wanted) {
            std::cmp::Ordering::Less => grow(set, wanted - active.len(), &mut plan),
            std::cmp::Ordering::Greater => shrink(snapshot, &active, active.len() - wanted, &mut plan),
            std::cmp::Ordering::Equal => {}
        }
    }
    let terminating = pods.iter().filter(|p| p.deletion.is_some() && !p.phase.is_terminal()).count();
    let status = status(snapshot, &active, terminating, wanted);
    // While Pods come and go the next look counts them anyway; a write in between would only be one more.
    let moving = !deleted && active.len() != wanted && snapshot.refused.is_none();
    if !moving && status != set.status {
        let target = Target::of(served("apps", "replicasets"), set.header());
        let changes = vec![Change::Put(&["status"], status)];
        plan.actions.push(Action::Change { target, subresource: Some("status"), changes });
    }
    if let Some(soonest) = soonest_available(set, &active, snapshot.now) {
        plan.requeue_after(soonest);
    }
    plan
}

/// The Pods that are ours: adopts orphans that match, lets go of what no longer matches.
fn claim<'a>(snapshot: &Snapshot<'a>, deleted: bool, plan: &mut Plan) -> Vec<&'a Pod> {
    let set = snapshot.set;
    let mut ours = Vec::with_capacity(snapshot.pods.len());
    for &pod in &snapshot.pods {
        let matches = set.selector.matches(&pod.header().labels);
        let target = || Target::of(served("", "pods"), pod.header());
        let changes = match pod.controller_uid() {
            Some(uid) if *uid != *set.header().uid => continue,
            Some(_) if matches => {
                ours.push(pod);
                continue;
            }
            Some(_) if !deleted && pod.is_active() => Change::RemoveOwners(vec![set.header().uid.clone()]),
            None if matches && !deleted && pod.is_active() => {
                ours.push(pod);
                Change::AddOwner(controller_reference("apps/v1", "ReplicaSet", set.header()))
            }
            _ => continue,
        };
        plan.actions.push(Action::Change { target: target(), subresource: None, changes: vec![changes] });
    }
    ours
}

fn grow(set: &ReplicaSet, missing: usize, plan: &mut Plan) {
    let pod = new_pod(set);
    let about = Target::of(served("apps", "replicasets"), set.header());
    plan.creation_events = Some(CreationEvents { about, component: COMPONENT });
    for _ in 0..missing.min(BURST_MAX) {
        plan.actions.push(Action::Create {
            resource: served("", "pods"),
            namespace: set.header().namespace.clone(),
            object: pod.clone(),
        });
    }
}

fn new_pod(set: &ReplicaSet) -> Value {
    let metadata = &set.template["metadata"];
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", set.header().name),
            "namespace": set.header().namespace,
            "ownerReferences": [controller_reference("apps/v1", "ReplicaSet", set.header())],
        },
        "spec": set.template["spec"],
    });
    for member in ["labels", "annotations", "finalizers"] {
        if let Some(value) = metadata.get(member).filter(|v| !v.is_null()) {
            object["metadata"][member] = value.clone();
        }
    }
    object
}

fn shrink(snapshot: &Snapshot<'_>, active: &[&Pod], excess: usize, plan: &mut Plan) {
    let mut ranked: Vec<&Pod> = active.to_vec();
    ranking::order(&mut ranked, &snapshot.related_on_node, snapshot.now);
    for pod in ranked.into_iter().take(excess.min(BURST_MAX)) {
        let target = Target::of(served("", "pods"), pod.header());
        plan.events.push(EventRecord {
            about: Target::of(served("apps", "replicasets"), snapshot.set.header()),
            warning: false,
            reason: "SuccessfulDelete",
            message: format!("Deleted pod: {}", pod.header().name),
            component: COMPONENT,
        });
        plan.actions.push(Action::Delete {
            target,
            propagation: Propagation::Background,
            grace_seconds: None,
        });
    }
}

fn status(snapshot: &Snapshot<'_>, active: &[&Pod], terminating: usize, wanted: usize) -> Value {
    let set = snapshot.set;
    let labels = shim_model::object::string_map(&set.template["metadata"]["labels"]);
    let labelled = |p: &&&Pod| labels.iter().all(|(k, v)| p.header().labels.get(k) == Some(v));
    let ready = active.iter().filter(|p| p.is_ready()).count();
    let available = active.iter().filter(|p| p.is_available(set.min_ready_seconds, snapshot.now)).count();
    let mut status = if set.status.is_object() { set.status.clone() } else { json!({}) };
    let counts = [
        ("fullyLabeledReplicas", active.iter().filter(labelled).count()),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ];
    let members = access::object_mut(&mut status, &[]);
    for (field, count) in counts {
        if count == 0 {
            members.remove(field);
        } else {
            members.insert(field.to_owned(), Value::from(count));
        }
    }
    members.insert("replicas".to_owned(), Value::from(active.len()));
    members.insert("terminatingReplicas".to_owned(), Value::from(terminating));
    members.insert("observedGeneration".to_owned(), Value::from(set.header().generation));
    note_failure(snapshot, &mut status, active.len() != wanted);
    status
}

fn note_failure(snapshot: &Snapshot<'_>, status: &mut Value, unfinished: bool) {
    match snapshot.refused {
        Some(refusal) if unfinished => {
            if condition(status, "ReplicaFailure").is_none() {
                let reason = if refusal.creating { "FailedCreate" } else { "FailedDelete" };
                let new =
                    Condition { kind: "ReplicaFailure", status: "True", reason, message: refusal.message };
                set_condition(status, &new, snapshot.now, false);
            }
        }
        // Without a fresh refusal the old one stands until the count is right: retries come with back-off.
        _ if unfinished => {}
        _ => remove_condition(status, "ReplicaFailure"),
    }
}

/// In how many seconds the next ready Pod becomes available, if one is waiting for that.
fn soonest_available(set: &ReplicaSet, active: &[&Pod], now: Seconds) -> Option<i64> {
    if set.min_ready_seconds == 0 {
        return None;
    }
    let waiting =
        active.iter().filter_map(|p| p.ready_since).map(|since| since + set.min_ready_seconds - now);
    waiting.filter(|left| *left > 0).min()
}

#[cfg(test)]
#[path = "replica_set/tests.rs"]
mod tests;
