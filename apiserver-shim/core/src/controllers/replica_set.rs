//! The ReplicaSet controller, and what it shares with the ReplicationController's: maintaining the number of Pods of a template.
//!
//! Unlike upstream it needs no expectations. A key is reconciled again only when the cache contains every write of
//! its last plan, so the Pods that it counts are never older than those that it created.

mod ranking;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{
    Action, Change, Condition, Controller, CreationEvents, CreationText, EventRecord, EventSource, Input,
    Keys, ObjectChange, ObjectName, Plan, Refusal, Target, View, condition, owned_pods, remove_condition,
    served, set_condition,
};
use crate::rows::{LabelSelector, ObjectView, Pod, ReplicaSet, Seconds, controller_reference};

/// The source of its Events.
pub const COMPONENT: &str = "replicaset-controller";

/// A kind that maintains a number of Pods.
pub(super) trait ReplicaOwner: ObjectView {
    const API_VERSION: &'static str;
    const KIND: &'static str;
    /// The source of its Events.
    const COMPONENT: &'static str;
    /// Whether its status has `terminatingReplicas`.
    const REPORTS_TERMINATING: bool;

    fn spec(&self) -> ReplicaSpec<'_>;

    fn header(&self) -> &Header {
        &self.object().header
    }

    fn target(&self) -> Target {
        Target::of(served(Self::GROUP, Self::PLURAL), self.header())
    }

    /// An owner reference to it.
    fn reference(&self) -> Value {
        controller_reference(Self::API_VERSION, Self::KIND, self.header())
    }
}

/// What a [`ReplicaOwner`] wants, and its status.
pub(super) struct ReplicaSpec<'a> {
    pub replicas: i64,
    pub selector: &'a LabelSelector,
    pub template: &'a Value,
    pub min_ready_seconds: i64,
    pub status: &'a Value,
}

impl ReplicaOwner for ReplicaSet {
    const API_VERSION: &'static str = "apps/v1";
    const KIND: &'static str = "ReplicaSet";
    const COMPONENT: &'static str = COMPONENT;
    const REPORTS_TERMINATING: bool = true;

    fn spec(&self) -> ReplicaSpec<'_> {
        ReplicaSpec {
            replicas: self.replicas,
            selector: &self.selector,
            template: &self.template,
            min_ready_seconds: self.min_ready_seconds,
            status: &self.status,
        }
    }
}

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
        keys_of_change::<ReplicaSet>(change, view, keys);
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        reconcile::<ReplicaSet>(view, key)
    }
}

/// The keys that a change of an owner or a Pod concerns.
pub(super) fn keys_of_change<O: ReplicaOwner>(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    if change.is_of(O::GROUP, O::PLURAL) {
        keys.insert(change.name());
        return;
    }
    change.headers().for_each(|pod| owned_pods::keys_of_owner::<O>(pod, O::KIND, view, keys));
}

/// Plans the writes for one owner.
pub(super) fn reconcile<O: ReplicaOwner>(view: &View<'_>, key: &ObjectName) -> Plan {
    let Some(owner) = view.get::<O>(&key.key) else { return Plan::default() };
    let (header, spec) = (owner.header(), owner.spec());
    let pods = owned_pods::related(view, header, spec.selector);
    let crowded = pods.iter().filter(|p| p.is_active()).count() as i64 > spec.replicas;
    let related_on_node = if crowded { related_on_node(view, owner) } else { Vec::new() };
    plan(&Snapshot { owner, spec, pods, related_on_node, refused: view.refusal, now: view.now })
}

/// The number of active Pods per node, of every owner of the kind with the same controller; sorted by node.
fn related_on_node<'a, O: ReplicaOwner>(view: &View<'a>, owner: &'a O) -> Vec<(&'a str, usize)> {
    let mut related = vec![owner];
    if let Some(controller) = owner.header().controller() {
        let siblings = view.controlled::<O>(&controller.uid);
        related.extend(siblings.filter(|other| other.header().uid != owner.header().uid));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for owner in related {
        for pod in view.controlled::<Pod>(&owner.header().uid).filter(|pod| pod.is_active()) {
            if let Some(node) = pod.node.as_deref() {
                *counts.entry(node).or_default() += 1;
            }
        }
    }
    counts.into_iter().collect()
}

/// What one reconcile reads.
struct Snapshot<'a, O> {
    owner: &'a O,
    spec: ReplicaSpec<'a>,
    /// Every Pod that the owner controls, or that it selects and that has no controller.
    pods: Vec<&'a Pod>,
    /// Empty unless Pods have to be deleted.
    related_on_node: Vec<(&'a str, usize)>,
    /// Why the last creation or deletion of a Pod was refused.
    refused: Option<&'a Refusal>,
    now: Seconds,
}

fn plan<O: ReplicaOwner>(snapshot: &Snapshot<'_, O>) -> Plan {
    let (owner, spec) = (snapshot.owner, &snapshot.spec);
    let mut plan = Plan::default();
    let deleted = owner.header().deletion_timestamp.is_some();
    let pods = claim(snapshot, deleted, &mut plan);
    let active: Vec<&Pod> = pods.iter().copied().filter(|p| p.is_active()).collect();
    let wanted = usize::try_from(spec.replicas).unwrap_or(0);
    if !deleted {
        match active.len().cmp(&wanted) {
            std::cmp::Ordering::Less => grow(owner, wanted - active.len(), &mut plan),
            std::cmp::Ordering::Greater => shrink(snapshot, &active, active.len() - wanted, &mut plan),
            std::cmp::Ordering::Equal => {}
        }
    }
    let terminating = pods.iter().filter(|p| p.deletion.is_some() && !p.phase.is_terminal()).count();
    let status = status(snapshot, &active, terminating, wanted);
    // The reconcile after these writes counts the Pods again; updating the status now would be an additional write.
    let moving = !deleted && active.len() != wanted && snapshot.refused.is_none();
    if !moving && status != *spec.status {
        let target = owner.target();
        let changes = vec![Change::Put(&["status"], status)];
        let change = Action::Change { target, subresource: Some("status"), changes };
        // A plan ends at the first refusal, and what was refused probably will be again: the status comes first.
        let at = if snapshot.refused.is_some() { 0 } else { plan.actions.len() };
        plan.actions.insert(at, change);
    }
    if let Some(soonest) = owned_pods::soonest_available(&active, spec.min_ready_seconds, snapshot.now) {
        plan.requeue_after(soonest);
    }
    plan
}

/// The Pods of the owner: adopts orphans that match and releases Pods that no longer match.
fn claim<'a, O: ReplicaOwner>(snapshot: &Snapshot<'a, O>, deleted: bool, plan: &mut Plan) -> Vec<&'a Pod> {
    let owner = snapshot.owner;
    let mut ours = Vec::with_capacity(snapshot.pods.len());
    for &pod in &snapshot.pods {
        let matches = snapshot.spec.selector.matches(&pod.header().labels);
        let change = match pod.controller_uid() {
            Some(uid) if *uid != *owner.header().uid => continue,
            Some(_) if matches => {
                ours.push(pod);
                continue;
            }
            Some(_) if !deleted && pod.is_active() => Change::RemoveOwners(vec![owner.header().uid.clone()]),
            None if matches && !deleted && pod.is_active() => {
                ours.push(pod);
                Change::AddOwner(owner.reference())
            }
            _ => continue,
        };
        let target = owned_pods::target(pod);
        plan.actions.push(Action::Change { target, subresource: None, changes: vec![change] });
    }
    ours
}

fn grow<O: ReplicaOwner>(owner: &O, missing: usize, plan: &mut Plan) {
    let (header, template) = (owner.header(), owner.spec().template);
    let pod = owned_pods::from_template_with_generated_name(header, owner.reference(), template);
    plan.creation_events =
        Some(CreationEvents { about: owner.target(), component: O::COMPONENT, text: CreationText::Pods });
    for _ in 0..missing.min(BURST_MAX) {
        plan.actions.push(owned_pods::create(header, pod.clone()));
    }
}

fn shrink<O: ReplicaOwner>(snapshot: &Snapshot<'_, O>, active: &[&Pod], excess: usize, plan: &mut Plan) {
    let mut ranked: Vec<&Pod> = active.to_vec();
    ranking::order(&mut ranked, &snapshot.related_on_node, snapshot.now);
    for pod in ranked.into_iter().take(excess.min(BURST_MAX)) {
        plan.events.push(EventRecord {
            about: snapshot.owner.target(),
            warning: false,
            reason: "SuccessfulDelete",
            message: format!("Deleted pod: {}", pod.header().name),
            source: EventSource::Component(O::COMPONENT),
        });
        plan.actions.push(owned_pods::delete(pod));
    }
}

fn status<O: ReplicaOwner>(
    snapshot: &Snapshot<'_, O>,
    active: &[&Pod],
    terminating: usize,
    wanted: usize,
) -> Value {
    let spec = &snapshot.spec;
    let labels = shim_model::object::string_map(&spec.template["metadata"]["labels"]);
    let labelled = |p: &&&Pod| labels.iter().all(|(k, v)| p.header().labels.get(k) == Some(v));
    let ready = active.iter().filter(|p| p.is_ready()).count();
    let available = active.iter().filter(|p| p.is_available(spec.min_ready_seconds, snapshot.now)).count();
    let mut status = if spec.status.is_object() { spec.status.clone() } else { json!({}) };
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
    if O::REPORTS_TERMINATING {
        members.insert("terminatingReplicas".to_owned(), Value::from(terminating));
    }
    members.insert("observedGeneration".to_owned(), Value::from(snapshot.owner.header().generation));
    note_failure(snapshot, &mut status, active.len() != wanted);
    status
}

fn note_failure<O>(snapshot: &Snapshot<'_, O>, status: &mut Value, unfinished: bool) {
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

#[cfg(test)]
#[path = "replica_set/tests.rs"]
mod tests;
