//! The working copy of a Deployment's ReplicaSets, which the steps of one reconcile change. The plan is its difference to the
//! cache.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{COMPONENT, Snapshot, max_surge, target};
use crate::{
    controllers::{Action, Change, EventRecord, EventSource, Plan, Propagation, Target, served},
    rows::{Deployment, ReplicaSet, Seconds, controlled_by, controller_reference},
};

pub(super) const DESIRED_ANNOTATION: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_ANNOTATION: &str = "deployment.kubernetes.io/max-replicas";

/// One ReplicaSet: as found and as desired.
#[derive(Debug)]
pub(super) struct Set<'a> {
    /// As found; `None` if this plan creates it.
    pub found: Option<&'a ReplicaSet>,
    pub name: String,
    pub replicas: i64,
    pub annotations: BTreeMap<String, String>,
    pub min_ready_seconds: i64,
    /// The plan adds the owner reference.
    pub adopt: bool,
    /// The plan deletes it.
    pub delete: bool,
    pub created: Seconds,
    /// The parts of a ReplicaSet that this plan creates.
    pub new_replica_set: Option<NewReplicaSet>,
}

#[derive(Debug)]
pub(super) struct NewReplicaSet {
    pub labels: Value,
    pub selector: Value,
    pub template: Value,
}

impl Set<'_> {
    pub fn counted(&self, field: &str) -> i64 {
        self.found.map_or(0, |f| f.counted(field))
    }

    pub fn available(&self) -> i64 {
        self.counted("availableReplicas")
    }

    pub fn number(&self, annotation: &str) -> Option<i64> {
        self.annotations.get(annotation).and_then(|v| v.parse().ok())
    }

    pub fn uid(&self) -> &str {
        self.found.map_or("", |f| &f.header().uid)
    }
}

#[derive(Debug)]
pub(super) struct Working<'a> {
    pub deployment: &'a Deployment,
    pub now: Seconds,
    /// The ReplicaSets that the Deployment controls, oldest first.
    pub sets: Vec<Set<'a>>,
    /// The index in `sets` of the ReplicaSet with the Deployment's template.
    pub new: Option<usize>,
    /// Names of other ReplicaSets in the namespace.
    pub taken_names: Vec<&'a str>,
    pub annotations: BTreeMap<String, String>,
    pub status: Value,
    pub events: Vec<EventRecord>,
    releases: Vec<Target>,
    requeue_after: Option<i64>,
}

impl<'a> Working<'a> {
    pub fn new(snapshot: &Snapshot<'a>) -> Self {
        let deployment = snapshot.deployment;
        Working {
            deployment,
            now: snapshot.now,
            sets: Vec::new(),
            new: None,
            taken_names: Vec::new(),
            annotations: deployment.annotations.clone(),
            status: if deployment.status.is_object() { deployment.status.clone() } else { json!({}) },
            events: Vec::new(),
            releases: Vec::new(),
            requeue_after: None,
        }
    }

    /// Collects the controlled ReplicaSets, adopts matching ones without a controller, releases those that no longer match.
    pub fn claim(&mut self, snapshot: &Snapshot<'a>) {
        let deleted = self.deployment.header().deletion_timestamp.is_some();
        let uid = &self.deployment.header().uid;
        for &set in &snapshot.replica_sets {
            let matches = self.deployment.selector.matches(&set.header().labels);
            let ours = controlled_by(&set.object, uid);
            let orphan = set.header().controller().is_none();
            let adoptable = orphan && matches && !deleted && set.header().deletion_timestamp.is_none();
            if (ours && (matches || deleted)) || adoptable {
                self.sets.push(Set {
                    found: Some(set),
                    name: set.header().name.clone(),
                    replicas: set.replicas,
                    annotations: set.annotations.clone(),
                    min_ready_seconds: set.min_ready_seconds,
                    adopt: adoptable,
                    delete: false,
                    created: set.created,
                    new_replica_set: None,
                });
            } else {
                self.taken_names.push(&set.header().name);
                if ours {
                    self.releases.push(Target::of(served("apps", "replicasets"), set.header()));
                }
            }
        }
        self.sets.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    }

    /// The indices of the old ReplicaSets, oldest first.
    pub fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|i| Some(*i) != self.new).collect()
    }

    /// The sum of `spec.replicas`.
    pub fn wanted(&self) -> i64 {
        self.sets.iter().map(|s| s.replicas).sum()
    }

    /// The sum of a count in the status.
    pub fn counted(&self, field: &str) -> i64 {
        self.sets.iter().map(|s| s.counted(field)).sum()
    }

    /// Scales a ReplicaSet. Returns whether that changed anything.
    pub fn scale(&mut self, index: usize, replicas: i64) -> bool {
        let (desired, max) =
            (self.deployment.replicas, self.deployment.replicas + max_surge(self.deployment));
        let set = &mut self.sets[index];
        let resized = set.replicas != replicas;
        let mut marked = put(&mut set.annotations, DESIRED_ANNOTATION, desired);
        marked |= put(&mut set.annotations, MAX_ANNOTATION, max);
        if resized {
            let direction = if replicas > set.replicas { "up" } else { "down" };
            let message =
                format!("Scaled {direction} replica set {} from {} to {replicas}", set.name, set.replicas);
            set.replicas = replicas;
            self.note(message);
        }
        resized || marked
    }

    fn note(&mut self, message: String) {
        let about = target(self.deployment);
        self.events.push(EventRecord {
            about,
            warning: false,
            reason: "ScalingReplicaSet",
            message,
            source: EventSource::Component(COMPONENT),
        });
    }

    pub fn requeue_after(&mut self, seconds: i64) {
        self.requeue_after = Some(seconds.max(1));
    }

    /// The difference between this copy and the cache.
    pub fn into_plan(self) -> Plan {
        let mut plan = Plan { events: self.events, requeue_after: self.requeue_after, ..Plan::default() };
        for target in self.releases {
            let changes = vec![Change::RemoveOwners(vec![self.deployment.header().uid.clone()])];
            plan.actions.push(Action::Change { target, subresource: None, changes });
        }
        let owner = controller_reference("apps/v1", "Deployment", self.deployment.header());
        // Scale down before up, so that a crash between two writes never exceeds the bounds of the rollout.
        let mut ups = Vec::new();
        for set in &self.sets {
            match set_action(set, self.deployment, &owner) {
                Some((action, true)) => ups.push(action),
                Some((action, false)) => plan.actions.push(action),
                None => {}
            }
        }
        plan.actions.append(&mut ups);
        plan.actions.extend(status_action(self.deployment, &self.annotations, &self.status));
        plan
    }
}

fn put(annotations: &mut BTreeMap<String, String>, key: &str, number: i64) -> bool {
    let text = number.to_string();
    if annotations.get(key) == Some(&text) {
        return false;
    }
    annotations.insert(key.to_owned(), text);
    true
}

/// The write for one ReplicaSet, and whether it adds Pods.
fn set_action(set: &Set<'_>, deployment: &Deployment, owner: &Value) -> Option<(Action, bool)> {
    let resource = served("apps", "replicasets");
    let Some(found) = set.found else {
        let new_replica_set = set.new_replica_set.as_ref()?;
        let namespace = deployment.header().namespace.clone();
        let mut spec = json!({"replicas": set.replicas, "selector": new_replica_set.selector, "template": new_replica_set.template});
        if set.min_ready_seconds != 0 {
            spec["minReadySeconds"] = Value::from(set.min_ready_seconds);
        }
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": set.name,
                "namespace": namespace,
                "labels": new_replica_set.labels,
                "annotations": set.annotations,
                "ownerReferences": [owner],
            },
            "spec": spec,
        });
        return Some((Action::Create { resource, namespace, object }, true));
    };
    let target = Target::of(resource, found.header());
    if set.delete {
        let action = Action::Delete { target, propagation: Propagation::Background, grace_seconds: None };
        return Some((action, false));
    }
    let mut changes = Vec::new();
    if set.adopt {
        changes.push(Change::AddOwner(owner.clone()));
    }
    let mut patch = json!({});
    for (key, value) in &set.annotations {
        if found.annotations.get(key) != Some(value) {
            patch["metadata"]["annotations"][key] = Value::from(value.as_str());
        }
    }
    if set.replicas != found.replicas {
        patch["spec"]["replicas"] = Value::from(set.replicas);
    }
    if set.min_ready_seconds != found.min_ready_seconds {
        patch["spec"]["minReadySeconds"] = Value::from(set.min_ready_seconds);
    }
    if patch != json!({}) {
        changes.push(Change::Merge(patch));
    }
    let grows = set.replicas > found.replicas;
    (!changes.is_empty()).then_some((Action::Change { target, subresource: None, changes }, grows))
}

/// Status and annotations in one write to `/status`, which does not change the generation.
fn status_action(
    deployment: &Deployment,
    annotations: &BTreeMap<String, String>,
    status: &Value,
) -> Option<Action> {
    let mut changes = Vec::new();
    let mut patch = json!({});
    for (key, value) in annotations {
        if deployment.annotations.get(key) != Some(value) {
            patch["metadata"]["annotations"][key] = Value::from(value.as_str());
        }
    }
    if patch != json!({}) {
        changes.push(Change::Merge(patch));
    }
    if *status != deployment.status && !(deployment.status.is_null() && *status == json!({})) {
        changes.push(Change::Put(&["status"], status.clone()));
    }
    let action = Action::Change { target: target(deployment), subresource: Some("status"), changes };
    matches!(&action, Action::Change { changes, .. } if !changes.is_empty()).then_some(action)
}
