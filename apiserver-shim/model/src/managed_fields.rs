//! `metadata.managedFields`: which manager set which field. Every create, update and patch compares the object before
//! and after along the schema and records the changed fields for its manager ([`record_update`]); server-side apply
//! ([`apply`]) merges a configuration and records what it contains.

mod applied;
mod compare;
mod created;
mod entries;
mod field_set;
mod merge;
mod node;
mod path;
mod remove;
mod scale;
mod to_set;
mod update;
mod validate;

pub use applied::{ApplyOptions, apply};
pub use compare::{Changes, compare};
pub use entries::UPDATE_ENTRIES_MAX;
pub use field_set::FieldSet;
pub use merge::{covers, merge};
pub use path::PathElement;
pub use remove::{remove_items, with_named_fields};
pub use scale::ScaleOwners;
pub use to_set::to_field_set;
pub use validate::{atomics, validate};

use crate::access;
use crate::schema::ObjectType;
use crate::status::{self, Status};
use crate::time::Instant;
use entries::Entry;
use serde_json::Value;
use std::fmt;
use update::Updater;

/// Longest manager name taken from a User-Agent.
pub const MANAGER_NAME_MAX: usize = 128;

/// Members of every object that are not managed.
const SYSTEM: [&str; 2] = ["apiVersion", "kind"];
/// Members of the metadata that are not managed: identity, and what the server sets.
const SYSTEM_META: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The manager of a write, and what it writes through.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// Name of the manager; see [`manager_name`].
    pub manager: &'a str,
    /// The kind in the version that the request addresses.
    pub ty: &'a ObjectType,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Instant,
    /// What this (sub)resource cannot change.
    pub reset: ResetFields<'a>,
    /// The other versions of the kind.
    pub versions: &'a dyn Versions,
}

/// The fields that a (sub)resource resets to their stored values, whatever a client sends: they get no owner. Paths are
/// names of members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResetFields<'a> {
    /// Paths that are reset, with everything below.
    pub exclude: &'a [&'a [&'a str]],
}

impl ResetFields<'_> {
    /// Removes the reset fields from a set.
    fn filter(&self, fields: &mut FieldSet) {
        self.exclude.iter().for_each(|path| fields.remove(path));
    }

    /// Whether this member of the object is reset as a whole.
    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|path| **path == [name])
    }
}

/// The other versions of a kind. Entries name the version that their paths are of.
pub trait Versions: fmt::Debug + Sync {
    /// The type of the kind in a version; `None` if there is no such version.
    fn object_type(&self, api_version: &str) -> Option<ObjectType>;
    /// Converts an object to a known version.
    fn convert(&self, object: Value, api_version: &str) -> Result<Value, Status>;
    /// Whether a field may have another name in another version: not if a conversion only removes what the other schema
    /// lacks.
    fn renames_fields(&self) -> bool {
        false
    }
}

/// A kind with one version.
#[derive(Debug, Clone, Copy)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn object_type(&self, _: &str) -> Option<ObjectType> {
        None
    }

    fn convert(&self, _: Value, api_version: &str) -> Result<Value, Status> {
        Err(status::internal(format!("version {api_version} is not served")))
    }
}

/// The manager of a request: its `fieldManager` parameter, or the program named in its User-Agent.
pub fn manager_name(parameter: &str, user_agent: &str) -> String {
    if !parameter.is_empty() {
        return parameter.to_owned();
    }
    let program = user_agent.split('/').next().unwrap_or("");
    let mut name = String::new();
    for c in program.chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > MANAGER_NAME_MAX {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// Checks entries that an object has.
///
/// # Errors
/// The first that is invalid, with upstream's message.
pub fn check(list: &[Value]) -> Result<(), String> {
    list.iter().enumerate().try_for_each(|(at, entry)| entries::check(at, entry))
}

/// Sets `new`'s managed fields after a create (`old` is `None`), update or patch by `writer`.
pub fn record_update(old: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let sent = access::remove(new, &["metadata", "managedFields"]);
    if !created::fits(writer.ty, new) {
        // As upstream, nobody is recorded for what the schema does not describe; validation may still accept it.
        if let Some(sent) = sent {
            access::object_mut(new, &["metadata"]).insert("managedFields".to_owned(), sent);
        }
        return;
    }
    let stored = old.map_or(&[][..], |old| access::list(old, &["metadata", "managedFields"]));
    let sent = sent.filter(|_| writer.subresource.is_empty());
    let sent = sent.as_ref().and_then(Value::as_array).filter(|sent| *sent != stored);
    let mut known = Vec::new();
    let from_client = match sent {
        Some(sent) if entries::is_reset(sent) => true,
        Some(sent) => {
            known = entries::parse(sent).unwrap_or_default();
            !known.is_empty()
        }
        None => false,
    };
    let compared = old.filter(|_| !from_client && !stored.is_empty());
    let changes = compared.map(|old| Updater::new(writer).changes(old, new));
    let set_again = changes.as_ref().and_then(|changes| set_again(stored, changes, writer));
    if !from_client && set_again.is_none() {
        known = entries::parse(stored).unwrap_or_default();
    }
    let list = match old {
        Some(_) if set_again.is_some() => set_again,
        None if known.is_empty() => {
            let fields = created::fields(writer.ty, new, writer.reset);
            let updater = Updater::new(writer);
            let id = updater.id(false);
            let time = writer.now.to_rfc3339();
            fields.map(|fields| vec![entries::encode(&id, &updater.api_version, &time, fields)])
        }
        // An object without managed fields stays without.
        Some(_) if known.is_empty() => None,
        old => {
            let empty = Value::Object(serde_json::Map::new());
            match record((old.unwrap_or(&empty), new), changes, (known, from_client), writer) {
                Some(Recorded::Entries(list)) => Some(list),
                // Nothing changed; or what cannot be compared, which keeps its owners.
                Some(Recorded::Unchanged) | None => Some(stored.to_vec()),
            }
        }
    };
    if let Some(list) = list.filter(|list| !list.is_empty()) {
        access::object_mut(new, &["metadata"]).insert("managedFields".to_owned(), list.into());
    }
}

/// The entries of an update that sets what its manager owns already; `None` if they must be worked out.
fn set_again(stored: &[Value], changes: &Changes, writer: Writer<'_>) -> Option<Vec<Value>> {
    if !changes.added.is_empty() || writer.ty.schema().is_structural() {
        return None; // The schema of custom resources may have changed since.
    }
    let (mut modified, mut removed) = (changes.modified.clone(), changes.removed.clone());
    [&mut modified, &mut removed].into_iter().for_each(disown_system_fields);
    if !removed.is_empty() || modified.is_empty() {
        return None;
    }
    entries::set_again(stored, &Updater::new(writer).id(false), &modified, &writer.now.to_rfc3339())
}

enum Recorded {
    Entries(Vec<Value>),
    Unchanged,
}

/// The entries with the changed fields moved to the writer's entry; `None` if objects cannot be converted.
fn record(
    (old, new): (&Value, &Value),
    changes: Option<Changes>,
    (mut known, from_client): (Vec<Entry>, bool),
    writer: Writer<'_>,
) -> Option<Recorded> {
    let updater = Updater::new(writer);
    let foreign = known.iter().any(|entry| entry.api_version != updater.api_version);
    updater.reconcile(&mut known);
    let changes = changes.unwrap_or_else(|| updater.changes(old, new));
    let changes = updater.take_over(changes, (old, new), &mut known, None, true).ok()?;
    let mut mine = changes.changed();
    if mine.is_empty() && changes.removed.is_empty() && !foreign && !from_client {
        return Some(Recorded::Unchanged);
    }
    disown_system_fields(&mut mine);
    if !mine.is_empty() {
        let id = updater.id(false);
        let time = writer.now.to_rfc3339();
        match known.iter_mut().find(|entry| entry.id == id) {
            Some(entry) => {
                entry.fields = entry.fields.union(&mine);
                entry.time = time;
            }
            None => known.push(Entry { time, ..Entry::new(id, &updater.api_version, mine) }),
        }
    }
    entries::bound_updaters(&mut known);
    Some(Recorded::Entries(entries::to_list(known)))
}

/// Removes the paths that nobody manages.
fn disown_system_fields(fields: &mut FieldSet) {
    SYSTEM.iter().for_each(|name| fields.remove(&[name]));
    SYSTEM_META.iter().for_each(|name| fields.remove(&["metadata", name]));
    fields.disown("metadata");
}

/// Reverts the times in `new`'s managed fields if nothing else differs from `old`, so that a write that changes nothing
/// is none.
pub fn keep_times(old: &Value, new: &mut Value) {
    const LIST: [&str; 2] = ["metadata", "managedFields"];
    let (before, after) = (access::list(old, &LIST), access::list(new, &LIST));
    if before == after || before.len() != after.len() {
        return;
    }
    // In any order, which follows the times.
    let same = before.iter().all(|a| after.iter().any(|b| same_but_for(a, b, "time")))
        && same_but_for(old, new, "metadata")
        && same_but_for(&old["metadata"], &new["metadata"], "managedFields");
    if same {
        let before = before.to_vec();
        access::object_mut(new, &["metadata"]).insert("managedFields".to_owned(), before.into());
    }
}

/// Whether two objects are equal but for one member, which both have.
fn same_but_for(a: &Value, b: &Value, member: &str) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    a.len() == b.len() && a.iter().all(|(name, value)| name == member || b.get(name) == Some(value))
}

#[cfg(test)]
#[path = "managed_fields/tests.rs"]
mod tests;
