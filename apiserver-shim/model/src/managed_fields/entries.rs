//! The entries of `metadata.managedFields`: parsed, ordered, bounded and encoded.

use super::field_set::FieldSet;
use serde_json::{Map, Value, json};

/// Most entries of operation `Update` on one object; beyond that, the oldest are merged (upstream's number).
pub const UPDATE_ENTRIES_MAX: usize = 10;

/// One manager's fields.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub id: ManagerId,
    /// The version that the paths are of.
    pub api_version: String,
    /// RFC 3339, or empty.
    pub time: String,
    pub fields: FieldSet,
}

/// What identifies an entry. An applier has one entry whatever versions it applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ManagerId {
    pub manager: String,
    /// Operation `Apply`, otherwise `Update`.
    pub applied: bool,
    /// The version of an updater's paths; empty for appliers.
    api_version: String,
    pub subresource: String,
}

impl ManagerId {
    pub fn new(manager: &str, applied: bool, api_version: &str, subresource: &str) -> Self {
        ManagerId {
            manager: manager.to_owned(),
            applied,
            api_version: if applied { String::new() } else { api_version.to_owned() },
            subresource: subresource.to_owned(),
        }
    }

    /// The manager as messages about conflicts show it.
    pub fn show(&self) -> String {
        let mut out = Value::from(self.manager.as_str()).to_string();
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", Value::from(self.subresource.as_str())));
        }
        if !self.applied {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

impl Entry {
    pub fn new(id: ManagerId, api_version: &str, fields: FieldSet) -> Self {
        Entry { id, api_version: api_version.to_owned(), time: String::new(), fields }
    }

    /// The same manager's entry with other fields, in another version.
    pub fn moved_to(self, api_version: &str, fields: FieldSet) -> Self {
        let id = ManagerId::new(&self.id.manager, self.id.applied, api_version, &self.id.subresource);
        Entry { id, api_version: api_version.to_owned(), time: self.time, fields }
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
        let (operation, api_version) = (text("operation"), text("apiVersion"));
        let known = matches!(operation, "Update" | "Apply");
        if !known || api_version.is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let id = ManagerId::new(text("manager"), operation == "Apply", api_version, text("subresource"));
        let fields = value.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::parse)?;
        Some(Entry { id, api_version: api_version.to_owned(), time: text("time").to_owned(), fields })
    }

    fn to_value(&self) -> Value {
        encode(&self.id, &self.api_version, &self.time, self.fields.to_value())
    }
}

/// Encodes an entry from its parts.
pub(super) fn encode(id: &ManagerId, api_version: &str, time: &str, fields: Value) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, text: &str| {
        if !text.is_empty() {
            out.insert(key.to_owned(), text.into());
        }
    };
    put("apiVersion", api_version);
    put("fieldsType", "FieldsV1");
    put("manager", &id.manager);
    put("operation", if id.applied { "Apply" } else { "Update" });
    put("subresource", &id.subresource);
    put("time", time);
    out.insert("fieldsV1".to_owned(), fields);
    Value::Object(out)
}

/// Checks the entry at an index.
pub(super) fn check(at: usize, value: &Value) -> Result<(), String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    if !matches!(text("operation"), "Update" | "Apply") {
        return Err("operation must be `Apply` or `Update`".to_owned());
    }
    if text("apiVersion").is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
        other => {
            let other = Value::from(other);
            return Err(format!("invalid fieldsType {other} in managed fields entry {at}"));
        }
    }
    match Entry::parse(value) {
        Some(_) => Ok(()),
        None => Err(format!("error decoding versioned set from managed fields entry {at}")),
    }
}

/// Parses entries; `None` if one of them is invalid. Of two with one identity the later counts.
pub(super) fn parse(list: &[Value]) -> Option<Vec<Entry>> {
    let mut out: Vec<Entry> = Vec::with_capacity(list.len());
    for value in list {
        let entry = Entry::parse(value)?;
        match out.iter_mut().find(|known| known.id == entry.id) {
            Some(known) => *known = entry,
            None => out.push(entry),
        }
    }
    Some(out)
}

/// Encodes the entries in upstream's order: appliers first, then by age and name.
pub(super) fn to_list(mut entries: Vec<Entry>) -> Vec<Value> {
    fn key(e: &Entry) -> (bool, &str, &str, &str, &str) {
        (!e.id.applied, &e.time, &e.id.manager, &e.api_version, &e.id.subresource)
    }
    entries.sort_by(|a, b| key(a).cmp(&key(b)));
    entries.iter().map(Entry::to_value).collect()
}

/// The entries after a manager has set fields that are its own already and nobody else's: only the time of its entry
/// changes, so that nothing is parsed. `None` if that is not so, or an entry is of another version.
pub(super) fn set_again(list: &[Value], id: &ManagerId, fields: &FieldSet, time: &str) -> Option<Vec<Value>> {
    fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
        entry.get(key).and_then(Value::as_str).unwrap_or("")
    }
    fn key(e: &Value) -> (bool, &str, &str, &str, &str) {
        let applied = text(e, "operation") == "Apply";
        (!applied, text(e, "time"), text(e, "manager"), text(e, "apiVersion"), text(e, "subresource"))
    }
    let mut mine = None;
    for (at, entry) in list.iter().enumerate() {
        let sound = text(entry, "apiVersion") == id.api_version && text(entry, "fieldsType") == "FieldsV1";
        let owned = entry.get("fieldsV1").filter(|_| sound)?;
        let is_mine = text(entry, "operation") == "Update"
            && text(entry, "manager") == id.manager
            && text(entry, "subresource") == id.subresource;
        if is_mine && mine.is_none() && fields.is_within(owned) {
            mine = Some(at);
        } else if is_mine || fields.meets(owned) {
            return None;
        }
    }
    let mine = mine?;
    let mut list = list.to_vec();
    list[mine]["time"] = time.into();
    list.sort_by(|a, b| key(a).cmp(&key(b)));
    Some(list)
}

/// Whether a list of entries asks that the fields be no longer tracked.
pub(super) fn is_reset(list: &[Value]) -> bool {
    list.is_empty() || *list == [json!({})]
}

/// Bounds the number of updaters: the oldest are merged into one entry per version, `ancient-changes`.
pub(super) fn bound_updaters(entries: &mut Vec<Entry>) {
    let mut by_age: Vec<ManagerId> = Vec::new();
    let mut updaters: Vec<&Entry> = entries.iter().filter(|e| !e.id.applied).collect();
    let mut over = updaters.len().saturating_sub(UPDATE_ENTRIES_MAX);
    if over > 0 {
        updaters.sort_by(|a, b| (&a.time, &a.id).cmp(&(&b.time, &b.id)));
        by_age.extend(updaters.iter().map(|e| e.id.clone()));
    }
    // The oldest entry of each version, into which the next ones are merged.
    let mut oldest: Vec<(String, ManagerId)> = Vec::new();
    for id in by_age {
        if over == 0 {
            return;
        }
        let Some(at) = entries.iter().position(|e| e.id == id) else { continue };
        let version = entries[at].api_version.clone();
        let Some((_, into)) = oldest.iter_mut().find(|(v, _)| *v == version) else {
            oldest.push((version, id));
            continue;
        };
        let bucket = ManagerId::new("ancient-changes", false, &version, "");
        if id == bucket {
            continue;
        }
        let merged = entries.remove(at);
        if let Some(target) = entries.iter().position(|e| e.id == *into) {
            let target = &mut entries[target];
            target.fields = target.fields.union(&merged.fields);
            (target.id, target.time) = (bucket.clone(), merged.time);
            *into = bucket;
        }
        over -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_entries_make_the_list_invalid() {
        let entry = |key: &str, value: Value| {
            let mut entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:a": {}}});
            entry[key] = value;
            parse(&[entry]).is_some()
        };
        assert!(entry("time", "2026-01-01T00:00:00Z".into()));
        assert!(!entry("operation", "Create".into()));
        assert!(!entry("apiVersion", "".into()));
        assert!(!entry("fieldsType", "FieldsV2".into()));
        assert!(entry("fieldsV1", json!({"x:unknown": {}})), "unknown notations are skipped");
        assert!(!entry("fieldsV1", json!({"a": {}})));
        assert!(!entry("fieldsV1", json!({"f:a": 1})));
        assert!(!entry("fieldsV1", json!({"k:{": {}})));
        assert!(!entry("fieldsV1", json!({"i:x": {}})));
    }
}
