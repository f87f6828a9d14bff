//! Controllers: what the cluster should do next, one noun a file. Each is `reconcile(&Snapshot) -> Plan`: it reads rows,
//! decides everything, and writes nothing. A plan leaves no choice to whoever executes it, and a second look at the state
//! that a plan leads to plans nothing (a property test of each).

pub mod deployment;
pub mod endpoints;
pub mod event_ttl;
pub mod garbage_collector;
pub mod namespace;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod pod_status;
pub mod replica_set;
pub mod root_ca;
pub mod service_account;

use serde_json::{Map, Value};
use shim_model::{access, object::Header, resource::GroupResource};

use crate::rows::{Key, Seconds};

/// What to do next.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Writes, in this order; a failure ends the plan, and the controller looks again.
    pub actions: Vec<Action>,
    /// What to tell people.
    pub events: Vec<EventRecord>,
    /// Requeue after this many seconds even if nothing changes.
    pub requeue_after: Option<i64>,
    /// Whom to tell of each creation, whose name is not known before.
    pub creation_events: Option<CreationEvents>,
}

/// Events for the creations of a plan: `SuccessfulCreate` or `FailedCreate`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CreationEvents {
    pub about: Target,
    pub component: &'static str,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Asks for another look in `seconds`, or sooner if one is due sooner.
    pub fn requeue_after(&mut self, seconds: i64) {
        let seconds = seconds.max(1);
        self.requeue_after = Some(self.requeue_after.map_or(seconds, |s| s.min(seconds)));
    }
}

/// One write.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    /// Make an object.
    Create { resource: GroupResource, namespace: String, object: Value },
    /// Change an object, if it still is the one with this UID. Changes are idempotent edits, applied to whatever the
    /// object is then, so that a conflict is no more than a retry.
    Change { target: Target, subresource: Option<&'static str>, changes: Vec<Change> },
    /// Delete an object, if it still is the one with this UID.
    Delete { target: Target, propagation: Propagation, grace_seconds: Option<i64> },
}

/// The object that an action is about.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Target {
    pub resource: GroupResource,
    pub key: Key,
    pub uid: String,
}

impl Target {
    /// The object with this header.
    pub fn of(resource: GroupResource, header: &Header) -> Self {
        Target { resource, key: Key::of(header), uid: header.uid.clone() }
    }
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// An idempotent edit.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// JSON merge patch.
    Merge(Value),
    /// Put a member at a path in place of what is there.
    Put(&'static [&'static str], Value),
    /// Add an owner reference, or replace the one with the same UID.
    AddOwner(Value),
    /// Remove the owner references with these UIDs.
    RemoveOwners(Vec<String>),
    /// No owner's deletion waits for this object any more.
    UnblockOwners,
    /// Remove a name from `metadata.finalizers`.
    RemoveFinalizer(&'static str),
}

impl Change {
    /// Applies the edit. Returns whether anything changed.
    pub fn apply(&self, object: &mut Value) -> bool {
        match self {
            Change::Merge(patch) => merge(object, patch),
            Change::Put(path, value) => {
                let (last, parents) = path.split_last().expect("invariant: paths are not empty");
                let parent = access::object_mut(object, parents);
                if parent.get(*last) == Some(value) {
                    return false;
                }
                parent.insert((*last).to_owned(), value.clone());
                true
            }
            Change::AddOwner(owner) => add_owner(object, owner),
            Change::RemoveOwners(uids) => edit_list(object, "ownerReferences", |list| {
                list.retain(|o| !uids.iter().any(|u| u == access::text(o, &["uid"])));
            }),
            Change::UnblockOwners => edit_list(object, "ownerReferences", |list| {
                for owner in list.iter_mut().filter_map(Value::as_object_mut) {
                    owner.remove("blockOwnerDeletion");
                }
            }),
            Change::RemoveFinalizer(name) => edit_list(object, "finalizers", |list| {
                list.retain(|f| f.as_str() != Some(name));
            }),
        }
    }
}

fn edit_list(object: &mut Value, name: &str, edit: impl FnOnce(&mut Vec<Value>)) -> bool {
    let Some(list) = access::list_mut(object, &["metadata", name]) else { return false };
    let before = list.clone();
    edit(list);
    let changed = *list != before;
    if list.is_empty() {
        access::object_mut(object, &["metadata"]).remove(name);
    }
    changed
}

fn add_owner(object: &mut Value, owner: &Value) -> bool {
    let uid = access::text(owner, &["uid"]);
    let meta = access::object_mut(object, &["metadata"]);
    let list = meta.entry("ownerReferences").or_insert_with(|| Value::Array(Vec::new()));
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let list = list.as_array_mut().expect("just made a list");
    match list.iter_mut().find(|o| access::text(o, &["uid"]) == uid) {
        Some(same) if same == owner => false,
        Some(same) => {
            *same = owner.clone();
            true
        }
        None => {
            list.push(owner.clone());
            true
        }
    }
}

/// JSON merge patch (RFC 7396). Returns whether anything changed.
fn merge(target: &mut Value, patch: &Value) -> bool {
    let Some(patch) = patch.as_object() else {
        let changed = target != patch;
        *target = patch.clone();
        return changed;
    };
    let mut changed = !target.is_object();
    if changed {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().expect("just made an object");
    for (key, value) in patch {
        if value.is_null() {
            changed |= members.remove(key).is_some();
        } else if let Some(old) = members.get_mut(key) {
            changed |= merge(old, value);
        } else {
            let mut fresh = Value::Null;
            merge(&mut fresh, value);
            members.insert(key.clone(), fresh);
            changed = true;
        }
    }
    changed
}

/// Something to tell people: becomes an Event.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct EventRecord {
    pub about: Target,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    pub component: &'static str,
}

/// A condition to set; the rules of `lastTransitionTime` are applied by [`set_condition`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

/// The condition of this type.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    access::list(status, &["conditions"]).iter().find(|c| access::text(c, &["type"]) == kind)
}

/// Sets a condition in the manner of workloads: equal status and reason leave it as it is; equal status keeps the time of
/// the last transition; a changed one moves to the end of the list.
pub fn set_condition(status: &mut Value, new: &Condition<'_>, now: Seconds, with_update_time: bool) {
    let time = Value::from(crate::rows::rfc3339(now));
    let mut since = time.clone();
    if let Some(old) = condition(status, new.kind)
        && access::text(old, &["status"]) == new.status
    {
        if access::text(old, &["reason"]) == new.reason {
            return;
        }
        since = old.get("lastTransitionTime").cloned().unwrap_or(since);
    }
    remove_condition(status, new.kind);
    let mut fresh = serde_json::json!({
        "type": new.kind, "status": new.status, "reason": new.reason, "message": new.message, "lastTransitionTime": since,
    });
    if with_update_time {
        fresh["lastUpdateTime"] = time;
    }
    let list =
        access::object_mut(status, &[]).entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.push(fresh);
    }
}

/// Removes the condition of this type.
pub fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(list) = access::list_mut(status, &["conditions"]) {
        list.retain(|c| access::text(c, &["type"]) != kind);
        if list.is_empty() {
            access::object_mut(status, &[]).remove("conditions");
        }
    }
}

/// Whether two JSON values are the same but for members that are null or empty where the other has none.
pub fn same_but_for_absence(a: &Value, b: &Value) -> bool {
    fn absent(v: &Value) -> bool {
        match v {
            Value::Null => true,
            Value::Object(m) => m.values().all(absent),
            Value::Array(l) => l.is_empty(),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| y.get(k).map_or_else(|| absent(v), |w| same_but_for_absence(v, w)))
                && y.iter().all(|(k, w)| x.contains_key(k) || absent(w))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same_but_for_absence(v, w))
        }
        _ => a == b || (absent(a) && absent(b)),
    }
}

/// Names a built-in resource.
pub const fn served(group: &'static str, plural: &'static str) -> GroupResource {
    GroupResource::builtin(group, plural)
}

#[cfg(test)]
#[path = "controllers/tests.rs"]
mod tests;
