//! Decides what a DELETE does to an object: remove it at once, mark it as terminating, or nothing. Pure functions;
//! the pipeline carries the decision out.

use serde_json::{Map, Value, json};
use shim_core::definition::ResourceDefinition;
use shim_model::access;
use shim_model::status::Status;
use shim_model::time::Instant;

/// Set while a foreground deletion waits for the dependents to be deleted.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Set until the garbage collector has removed the owner references of the dependents.
pub const FINALIZER_ORPHAN: &str = "orphan";

/// What happens to the dependents of a deleted object (`propagationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes the dependents after the owner.
    Background,
    /// The dependents are deleted before the owner.
    Foreground,
    /// The dependents stay, without the owner reference.
    Orphan,
}

impl Propagation {
    /// Parses a `propagationPolicy`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            _ => None,
        }
    }
}

/// The supported fields of `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds before the object may be removed forcibly; `None` for the resource's default.
    pub grace_period_seconds: Option<i64>,
    /// What happens to the dependents; `None` for the resource's default.
    pub propagation: Option<Propagation>,
    /// Precondition: the object must have this UID.
    pub uid: Option<String>,
    /// Precondition: the object must be at this resourceVersion.
    pub resource_version: Option<String>,
    /// Report the result without storing it.
    pub dry_run: bool,
    /// Whether the policy was given by `orphanDependents`, which is older than policies.
    pub by_old_option: bool,
}

/// What a DELETE does to the stored object.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Remove it. The value is its last state, which the DELETED event carries.
    Remove(Value),
    /// Mark it as terminating and write it back.
    Mark(Value),
    /// Leave it: it is terminating already.
    Nothing,
}

/// Checks the UID and resourceVersion preconditions.
pub fn check_preconditions(
    resource: &ResourceDefinition,
    object: &Value,
    options: &DeleteOptions,
    revision: u64,
) -> Result<(), Status> {
    let name = access::text(object, &["metadata", "name"]);
    let uid = access::text(object, &["metadata", "uid"]);
    let refuse = |what: &str, wanted: &str, found: &str| {
        Err(resource.strategy().precondition_failed(resource, name, what, wanted, found))
    };
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return refuse("UID", wanted, uid);
    }
    let found = revision.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != found) {
        return refuse("ResourceVersion", wanted, &found);
    }
    Ok(())
}

/// Decides what deleting `object` with `options` does.
pub fn decide(
    resource: &ResourceDefinition,
    object: &Value,
    options: &DeleteOptions,
    now: Instant,
) -> Decision {
    let mut after = object.clone();
    let was_marked = object["metadata"]["deletionTimestamp"].is_string();
    let asked = options.grace_period_seconds;
    let given = resource.strategy().grace(object, asked);
    let changed_grace = given.is_some_and(|g| give_grace(&mut after, g.seconds, asked.is_some(), now));
    let changed_finalizers = set_finalizers(&mut after, options, resource.strategy().orphans_dependents());
    let held = access::list(&after, &["metadata", "finalizers"]).iter().any(Value::is_string)
        || resource.strategy().is_held(&after);
    let grace = access::int(&after, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if given.is_some() && was_marked && !changed_grace && grace > 0 {
        return Decision::Nothing;
    }
    if held || grace > 0 {
        if !was_marked && given.is_none() {
            mark(&mut after, 0, now);
            resource.strategy().begin_deletion(&mut after);
        }
        return if was_marked && !changed_grace && !changed_finalizers {
            Decision::Nothing
        } else {
            Decision::Mark(after)
        };
    }
    Decision::Remove(after)
}

/// Sets the grace period and deletion timestamp; returns whether anything changed.
fn give_grace(object: &mut Value, grace: i64, asked: bool, now: Instant) -> bool {
    match access::int(object, &["metadata", "deletionGracePeriodSeconds"]) {
        // It is terminating already: a grace period can only be shortened, and only by an explicit request.
        Some(left) if object["metadata"]["deletionTimestamp"].is_string() => {
            if (!asked && grace != 0) || grace >= left {
                return false;
            }
            let at = access::text(object, &["metadata", "deletionTimestamp"]);
            let begun = Instant::parse(at).unwrap_or(now).seconds() - left;
            set_deletion(object, begun + grace, grace);
            true
        }
        _ => {
            mark(object, grace, now);
            true
        }
    }
}

/// Sets `deletionTimestamp` and `deletionGracePeriodSeconds`.
fn mark(object: &mut Value, grace: i64, now: Instant) {
    set_deletion(object, now.seconds() + grace, grace);
    let metadata = access::object_mut(object, &["metadata"]);
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g > 0) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

fn set_deletion(object: &mut Value, at: i64, grace: i64) {
    let metadata: &mut Map<String, Value> = access::object_mut(object, &["metadata"]);
    metadata.insert("deletionTimestamp".into(), Instant::from_seconds(at).to_rfc3339().into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
}

/// Sets the finalizers that the propagation policy implies; returns whether anything changed. `orphans` says what the policy of
/// the object's kind is if neither the request nor the object has one.
fn set_finalizers(object: &mut Value, options: &DeleteOptions, orphans: bool) -> bool {
    let before: Vec<Value> = access::list(object, &["metadata", "finalizers"]).to_vec();
    let ours = |f: &Value| matches!(f.as_str(), Some(FINALIZER_FOREGROUND | FINALIZER_ORPHAN));
    let wanted = match options.propagation {
        Some(Propagation::Foreground) => Some(FINALIZER_FOREGROUND),
        Some(Propagation::Orphan) => Some(FINALIZER_ORPHAN),
        Some(Propagation::Background) => None,
        None if orphans && !before.iter().any(ours) => Some(FINALIZER_ORPHAN),
        // No policy was given: the finalizers stay as they are.
        None => return false,
    };
    let mut after: Vec<Value> = before.iter().filter(|f| !ours(f) || f.as_str() == wanted).cloned().collect();
    if let Some(wanted) = wanted.filter(|w| !after.iter().any(|f| f.as_str() == Some(w))) {
        after.push(json!(wanted));
    }
    if after == before {
        return false;
    }
    let metadata = access::object_mut(object, &["metadata"]);
    if after.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), after.into());
    }
    true
}

#[cfg(test)]
mod tests;
