//! `metadata.managedFields`: which manager set which field. Every create, update and patch compares the object before
//! and after along the schema and records the changed fields for its manager. Server-side apply is not supported yet;
//! it needs the same sets (`FieldSet`) with operation `Apply`. Updates keep such entries and take changed fields from
//! them.

mod compare;
mod created;
mod field_set;

pub use compare::{Changes, compare};
pub use field_set::FieldSet;

use crate::access;
use crate::schema::ObjectType;
use crate::time::Instant;
use serde_json::{Map, Value, json};

/// Longest manager name taken from a User-Agent.
pub const MANAGER_NAME_MAX: usize = 128;
/// Most entries of operation `Update` on one object; beyond that, the oldest are merged.
pub const UPDATE_ENTRIES_MAX: usize = 10;

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
    /// Members that this (sub)resource cannot change, such as `status` on the main resource: paths of one step.
    pub reset: &'a [&'a [&'a str]],
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

/// Sets `new`'s managed fields after a create (`old` is `None`), update or patch by `writer`.
pub fn record_update(old: Option<&Value>, new: &mut Value, writer: Writer<'_>) {
    let sent = access::remove(new, &["metadata", "managedFields"]);
    let entries = starting_entries(old, sent, writer.subresource);
    let list: Vec<Value> = match old {
        None => {
            let fields = created::fields(writer.ty, new, writer.reset);
            if entries.is_empty() {
                fields.into_iter().map(|fields| Entry::new(&writer).written(fields)).collect()
            } else {
                let changed = fields.and_then(|fields| FieldSet::parse(&fields)).unwrap_or_default();
                record(entries, Changes { changed, removed: FieldSet::default() }, &writer)
            }
        }
        Some(_) if entries.is_empty() => return, // An object without managed fields stays without.
        Some(old) => {
            let mut changes = compare(writer.ty, old, new);
            changes.forget_system_fields();
            writer.reset.iter().for_each(|member| changes.forget(member));
            record(entries, changes, &writer)
        }
    };
    if !list.is_empty() {
        access::object_mut(new, &["metadata"]).insert("managedFields".to_owned(), list.into());
    }
}

/// The entries with the changed fields moved to the writer's entry.
fn record(mut entries: Vec<Entry>, changes: Changes, writer: &Writer<'_>) -> Vec<Value> {
    let mine = entries.iter().position(|e| e.is_of(writer));
    let same = mine.map(|i| entries[i].fields.clone());
    for entry in &mut entries {
        entry.fields.subtract(&changes.removed);
    }
    for (i, entry) in entries.iter_mut().enumerate() {
        if Some(i) != mine {
            entry.fields.subtract(&changes.changed);
        }
    }
    let at = mine.unwrap_or_else(|| {
        entries.push(Entry::new(writer));
        entries.len() - 1
    });
    if entries[at].fields.is_empty() {
        entries[at].fields = changes.changed;
    } else {
        entries[at].fields.unite(&changes.changed);
    }
    if same.as_ref() != Some(&entries[at].fields) {
        entries[at].time = writer.now.to_rfc3339();
    }
    entries.retain(|e| !e.fields.is_empty());
    merge_oldest(&mut entries);
    entries.sort_by(|a, b| {
        (a.operation != "Apply", &a.time, &a.manager).cmp(&(b.operation != "Apply", &b.time, &b.manager))
    });
    entries.into_iter().map(Entry::into_value).collect()
}

/// The entries to start from: those that the client sent, if they are valid; none if it sent an empty list; otherwise
/// those of the stored object.
fn starting_entries(old: Option<&Value>, sent: Option<Value>, subresource: &str) -> Vec<Entry> {
    if let Some(Value::Array(list)) = sent.filter(|_| subresource.is_empty()) {
        if list.is_empty() || list == [json!({})] {
            return Vec::new();
        }
        if let Some(entries) = list.iter().map(Entry::parse).collect::<Option<Vec<_>>>() {
            return entries;
        }
    }
    let stored = old.map_or(&[][..], |o| access::list(o, &["metadata", "managedFields"]));
    stored.iter().filter_map(Entry::parse).collect()
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

impl Entry {
    fn new(writer: &Writer<'_>) -> Self {
        Entry {
            manager: writer.manager.to_owned(),
            operation: "Update".to_owned(),
            api_version: writer.ty.kind().api_version(),
            subresource: writer.subresource.to_owned(),
            time: writer.now.to_rfc3339(),
            fields: FieldSet::default(),
        }
    }

    fn is_of(&self, writer: &Writer<'_>) -> bool {
        self.operation == "Update"
            && self.manager == writer.manager
            && self.subresource == writer.subresource
            && self.api_version == writer.ty.kind().api_version()
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        if text("fieldsType") != "FieldsV1" || !matches!(text("operation").as_str(), "Update" | "Apply") {
            return None;
        }
        Some(Entry {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::parse(value.get("fieldsV1")?)?,
        })
    }

    fn into_value(mut self) -> Value {
        let fields = std::mem::take(&mut self.fields).into_value();
        self.written(fields)
    }

    fn written(self, fields: Value) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, text: String| {
            if !text.is_empty() {
                out.insert(key.to_owned(), text.into());
            }
        };
        put("apiVersion", self.api_version);
        put("fieldsType", "FieldsV1".to_owned());
        put("manager", self.manager);
        put("operation", self.operation);
        put("subresource", self.subresource);
        put("time", self.time);
        out.insert("fieldsV1".to_owned(), fields);
        Value::Object(out)
    }
}

/// Bounds the number of `Update` entries: the oldest are merged into one entry per version, `ancient-changes`.
fn merge_oldest(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|e| e.operation == "Update").count();
    if updates <= UPDATE_ENTRIES_MAX {
        return;
    }
    let (mut by_age, mut kept): (Vec<_>, Vec<_>) = entries.drain(..).partition(|e| e.operation == "Update");
    by_age.sort_by(|a, b| a.time.cmp(&b.time));
    let mut over = updates - UPDATE_ENTRIES_MAX;
    let mut ancient: Vec<Entry> = Vec::new();
    for mut entry in by_age {
        if over == 0 {
            kept.push(entry);
            continue;
        }
        match ancient.iter_mut().find(|a| a.api_version == entry.api_version) {
            Some(found) => {
                found.fields.unite(&entry.fields);
                found.time = entry.time;
                over -= 1;
            }
            None => {
                entry.manager = "ancient-changes".to_owned();
                entry.subresource.clear();
                ancient.push(entry);
            }
        }
    }
    entries.extend(ancient);
    entries.append(&mut kept);
}

#[cfg(test)]
#[path = "managed_fields/tests.rs"]
mod tests;
