//! The ReplicaSet controller: maintains the number of Pods of a template.
//!
//! Unlike upstream it needs no expectations. A key is reconciled again only when the cache contains every write of
//! its last plan, so the Pods that it counts are never older than those that it created.

mod ranking;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{
    Action, Change, Condition, Controller, CreationEvents, EventRecord, EventSource, Input, Keys,
    ObjectChange, ObjectName, Plan, Propagation, Refusal, Target, View, condition, remove_condition, served,
    set_condition,
};
use crate::rows::{Pod, ReplicaSet, Seconds, controller_reference};

/// The source of its Events.
pub const COMPONENT: &str = "replicaset-controller";

/// Maximum number of Pods that one plan creates or deletes, as upstream's burst. The next reconcile continues.
pub const BURST_MAX: usize = 500;

/// Scales ReplicaSets.
pub struct ReplicaSetController;

impl Controller for ReplicaSetController {
    const NAME: &'static str = "replicaset-controller";
    const SERVICE_ACCOUNT: &'static str = "replicaset-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<ReplicaSet>(), Input::views::<Pod>()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("apps", "replicasets") {
            keys.insert(change.name());
            return;
        }
        change.headers().for_each(|pod| keys_of_pod(pod, view, keys));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(set) = view.get::<ReplicaSet>(&key.key) else { return Plan::default() };
        let header = set.header();
        let mut pods: Vec<&Pod> = view.controlled::<Pod>(&header.uid).collect();
        let matching = view.matching::<Pod>(&header.namespace, &set.selector);
        pods.extend(matching.into_iter().filter(|pod| pod.header().controller().is_none()));
        let crowded = pods.iter().filter(|p| p.is_active()).count() as i64 > set.replicas;
        let related_on_node = if crowded { related_on_node(view, set) } else { Vec::new() };
        plan(&Snapshot { set, pods, related_on_node, refused: view.refusal, now: view.now })
    }
}

/// The ReplicaSet that controls a Pod; for a Pod without a controller, every ReplicaSet that selects it.
fn keys_of_pod(pod: &Header, view: &View<'_>, keys: &mut Keys) {
    let resource = served("apps", "replicasets");
    match pod.controller() {
        Some(owner) if owner.kind == "ReplicaSet" => {
            keys.insert(ObjectName::new(resource, &pod.namespace, &owner.name));
        }
        Some(_) => {}
        None => {
            let adopters = view.selecting::<ReplicaSet>(&pod.namespace, &pod.labels);
            keys.extend(adopters.into_iter().map(|set| ObjectName::of(resource.clone(), set.header())));
        }
    }
}

/// The number of active Pods per node, of every ReplicaSet with the same controller; sorted by node.
fn related_on_node<'a>(view: &View<'a>, set: &'a ReplicaSet) -> Vec<(&'a str, usize)> {
    let mut related = vec![set];
    if let Some(owner) = set.header().controller() {
        let siblings = view.controlled::<ReplicaSet>(&owner.uid);
        related.extend(siblings.filter(|other| other.header().uid != set.header().uid));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for set in related {
        for pod in view.controlled::<Pod>(&set.header().uid).filter(|pod| pod.is_active()) {
            if let Some(node) = pod.node.as_deref() {
                *counts.entry(node).or_default() += 1;
            }
        }
    }
    counts.into_iter().collect()
}

/// What one reconcile of a ReplicaSet reads.
struct Snapshot<'a> {
    set: &'a ReplicaSet,
    /// Every Pod that the set controls, or that it selects and that has no controller.
    pods: Vec<&'a Pod>,
    /// Empty unless Pods have to be deleted.
    related_on_node: Vec<(&'a str, usize)>,
    /// Why the last creation or deletion of a Pod was refused.
    refused: Option<&'a Refusal>,
    now: Seconds,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
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
    // The reconcile after these writes counts the Pods again; updating the status now would be an additional write.
    let moving = !deleted && active.len() != wanted && snapshot.refused.is_none();
    if !moving && status != set.status {
        let target = Target::of(served("apps", "replicasets"), set.header());
        let changes = vec![Change::Put(&["status"], status)];
        let change = Action::Change { target, subresource: Some("status"), changes };
        // A plan ends at the first refusal, and what was refused probably will be again: the status comes first.
        let at = if snapshot.refused.is_some() { 0 } else { plan.actions.len() };
        plan.actions.insert(at, change);
    }
    if let Some(soonest) = soonest_available(set, &active, snapshot.now) {
        plan.requeue_after(soonest);
    }
    plan
}

/// The Pods of the set: adopts orphans that match and releases Pods that no longer match.
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
            source: EventSource::Component(COMPONENT),
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
                    Condition { kind: "ReplicaFailure", status: "True", reason, message: &refusal.message };
                set_condition(status, &new, snapshot.now, false);
            }
        }
        // Without a new refusal the old condition stays until the count is correct, because retries are delayed by
        // back-off.
        _ if unfinished => {}
        _ => remove_condition(status, "ReplicaFailure"),
    }
}

/// Seconds until the next ready Pod becomes available, if any is waiting for that.
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
