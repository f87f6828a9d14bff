//! The PersistentVolumeClaims of the members: one per claim template and ordinal. They outlive their Pods.
//!
//! Who owns a claim follows from `persistentVolumeClaimRetentionPolicy`: nobody, the StatefulSet (deleted with it), or a Pod
//! that a smaller size removes (deleted with it). The garbage collector deletes.

use serde_json::{Value, json};
use shim_model::{
    access,
    object::{Header, Owner},
};

use super::{Snapshot, event, identity};
use crate::{
    controllers::{Action, Change, EventRecord, Target, served},
    rows::{StatefulSet, controller_reference},
};

/// The name of a claim template.
pub fn template_name(template: &Value) -> &str {
    access::text(template, &["metadata", "name"])
}

/// The name of the claim of an ordinal.
pub fn name(set: &StatefulSet, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", template_name(template), set.name())
}

/// The state of the claims of one ordinal.
pub enum MemberClaims {
    /// All exist.
    Complete,
    /// These are created.
    Missing(Vec<Action>),
    /// A claim is being deleted, or belongs to an earlier Pod and will be: nothing can be created yet.
    Ending,
}

/// The claims of an ordinal whose Pod is, or will be, created.
pub fn of(snapshot: &Snapshot<'_>, ordinal: i64, pod: Option<&Header>) -> MemberClaims {
    let set = snapshot.set;
    let mut missing = Vec::new();
    for template in &set.claim_templates {
        match (snapshot.claim)(&name(set, template, ordinal)) {
            None => missing.push(create(set, template, ordinal)),
            Some(claim) if claim.deletion_timestamp.is_some() => return MemberClaims::Ending,
            Some(claim)
                if set.delete_claims_with_pod && pod.is_none() && is_stale(claim, set, ordinal, None) =>
            {
                return MemberClaims::Ending;
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { MemberClaims::Complete } else { MemberClaims::Missing(missing) }
}

fn create(set: &StatefulSet, template: &Value, ordinal: i64) -> Action {
    let mut object = template.clone();
    access::remove(&mut object, &["status"]);
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("PersistentVolumeClaim");
    object["metadata"]["name"] = name(set, template, ordinal).into();
    object["metadata"]["namespace"] = set.header().namespace.as_str().into();
    let own: Vec<(String, Value)> =
        access::entries(&set.match_labels, &[]).map(|(key, value)| (key.to_owned(), value.clone())).collect();
    if !own.is_empty() {
        access::object_mut(&mut object, &["metadata", "labels"]).extend(own);
    }
    if set.delete_claims_with_set {
        object["metadata"]["ownerReferences"] = json!([set_reference(set)]);
    }
    Action::Create {
        resource: served("", "persistentvolumeclaims"),
        namespace: set.header().namespace.clone(),
        object,
    }
}

fn set_reference(set: &StatefulSet) -> Value {
    controller_reference("apps/v1", "StatefulSet", set.header())
}

fn names_set(owner: &Owner, set: &StatefulSet) -> bool {
    owner.api_version == "apps/v1" && owner.kind == "StatefulSet" && owner.name == set.name()
}

fn names_pod(owner: &Owner, set: &StatefulSet, ordinal: i64) -> bool {
    owner.api_version == "v1" && owner.kind == "Pod" && owner.name == identity::pod_name(set, ordinal)
}

/// Whether an owner of the same name, but another UID, has the claim: an earlier StatefulSet or Pod.
fn is_stale(claim: &Header, set: &StatefulSet, ordinal: i64, pod: Option<&Header>) -> bool {
    let other_pod =
        |owner: &&Owner| names_pod(owner, set, ordinal) && pod.is_none_or(|pod| pod.uid != owner.uid);
    claim.owners.iter().any(|owner| other_pod(&owner))
        || claim.owners.iter().any(|owner| names_set(owner, set) && owner.uid != set.header().uid)
}

/// Corrects the owners of the claims of an ordinal by the retention policy.
pub fn correct_owners(
    snapshot: &Snapshot<'_>,
    ordinal: i64,
    pod: Option<&Header>,
) -> (Vec<Action>, Vec<EventRecord>) {
    let set = snapshot.set;
    let (mut actions, mut events) = (Vec::new(), Vec::new());
    for template in &set.claim_templates {
        let Some(claim) = (snapshot.claim)(&name(set, template, ordinal)) else { continue };
        if is_stale(claim, set, ordinal, pod) {
            continue;
        }
        let foreign = has_foreign_controller(claim, set, ordinal);
        let changes = owner_changes(claim, set, ordinal, pod, foreign);
        if changes.is_empty() {
            continue;
        }
        if foreign {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a managing controller, \
                 the retention policy is ignored for this claim",
                claim.name
            );
            events.push(event(set, true, "ConflictingController", message));
        }
        let target = Target::of(served("", "persistentvolumeclaims"), claim);
        actions.push(Action::Change { target, subresource: None, changes });
    }
    (actions, events)
}

/// Whether something else controls a claim whose deletion the policy wants to decide.
fn has_foreign_controller(claim: &Header, set: &StatefulSet, ordinal: i64) -> bool {
    let ours = |owner: &&Owner| names_set(owner, set) || names_pod(owner, set, ordinal);
    (set.delete_claims_with_set || set.delete_claims_with_pod)
        && claim.owners.iter().any(|owner| owner.controller && !ours(&owner))
}

fn owner_changes(
    claim: &Header,
    set: &StatefulSet,
    ordinal: i64,
    pod: Option<&Header>,
    foreign: bool,
) -> Vec<Change> {
    let condemned = !set.contains(ordinal);
    let wants_pod = set.delete_claims_with_pod && condemned && !foreign;
    let wants_set = set.delete_claims_with_set && !(set.delete_claims_with_pod && condemned) && !foreign;
    let mut wanted = Vec::new();
    if wants_set {
        wanted.push((set.header().uid.as_str(), set_reference(set)));
    }
    if let Some(pod) = pod.filter(|_| wants_pod) {
        wanted.push((pod.uid.as_str(), controller_reference("v1", "Pod", pod)));
    }
    let ours = |owner: &&Owner| owner.uid == set.header().uid || pod.is_some_and(|pod| pod.uid == owner.uid);
    let surplus: Vec<String> = claim
        .owners
        .iter()
        .filter(ours)
        .filter(|owner| !wanted.iter().any(|(uid, _)| *uid == owner.uid))
        .map(|owner| owner.uid.clone())
        .collect();
    let mut changes = Vec::new();
    if !surplus.is_empty() {
        changes.push(Change::RemoveOwners(surplus));
    }
    for (uid, reference) in wanted {
        if !claim.owners.iter().any(|owner| owner.uid == uid && owner.controller) {
            changes.push(Change::AddOwner(reference));
        }
    }
    changes
}
