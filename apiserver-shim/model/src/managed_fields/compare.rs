//! Which fields differ between two objects of a type. Embedded structs, which every object of the type has, count as
//! present on both sides, so that only explicit fields are recorded.

use super::created::{SYSTEM, SYSTEM_META};
use super::field_set::FieldSet;
use crate::schema::{DefaultValue, Field, ItemId, ListKind, ObjectType, Schema, StructId, Type};
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The difference of two objects.
#[derive(Debug, Default)]
pub struct Changes {
    /// Fields that were added or have another value.
    pub changed: FieldSet,
    /// Fields that were removed.
    pub removed: FieldSet,
}

impl Changes {
    /// Drops the fields at `path` from both sets.
    pub fn forget(&mut self, path: &[&str]) {
        self.changed.remove(path);
        self.removed.remove(path);
    }

    /// Drops the fields that are not managed.
    pub fn forget_system_fields(&mut self) {
        SYSTEM.iter().for_each(|field| self.forget(&[field]));
        SYSTEM_META.iter().for_each(|field| self.forget(&["metadata", field]));
        for set in [&mut self.changed, &mut self.removed] {
            if let Some(meta) = set.members.get_mut("f:metadata") {
                meta.own = false;
            }
        }
    }
}

static EMPTY_OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static EMPTY_TEXT: LazyLock<Value> = LazyLock::new(|| Value::String(String::new()));
static ZERO: LazyLock<Value> = LazyLock::new(|| 0.into());
static EMPTY_LIST: LazyLock<Value> = LazyLock::new(|| Value::Array(Vec::new()));

/// Compares two objects of a type.
pub fn compare(ty: &ObjectType, old: &Value, new: &Value) -> Changes {
    let mut changes = Changes::default();
    let walk = Walk { schema: ty.schema() };
    walk.members(ty.root(), (Some(old), Some(new)), &mut changes.changed, &mut changes.removed);
    changes
}

/// A value before and after.
type Pair<'a> = (Option<&'a Value>, Option<&'a Value>);

struct Walk<'s> {
    schema: &'s Schema,
}

impl Walk<'_> {
    fn members(&self, id: StructId, pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
        let (old, new) = (object(pair.0), object(pair.1));
        let keys = union(old, new);
        for key in keys {
            let Some(field) = self.schema.at(id).field(key) else { continue };
            let pair = (side(old, key, field), side(new, key, field));
            if pair.0 == pair.1 {
                continue;
            }
            let (mut fresh, mut gone) = (FieldSet::default(), FieldSet::default());
            self.field(field, pair, &mut fresh, &mut gone);
            changed.put(|| format!("f:{key}"), fresh);
            removed.put(|| format!("f:{key}"), gone);
        }
    }

    fn field(&self, field: &Field, pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
        match (field.ty, &field.list) {
            (_, _) if field.atomic => leaf(pair, changed, removed),
            (Type::Struct(id), _) => self.structure(id, pair, changed, removed),
            (Type::Map(item), _) => self.map(item, pair, changed, removed),
            (Type::List(item), ListKind::Map(keys)) => {
                self.list(item, pair, changed, removed, |e| element_key(e, keys))
            }
            (Type::List(item), ListKind::Set) => {
                self.list(item, pair, changed, removed, |e| format!("v:{e}"))
            }
            _ => leaf(pair, changed, removed),
        }
    }

    fn structure(&self, id: StructId, pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
        if self.schema.at(id).atomic || !both_are(pair, Value::is_object) || emptied(pair) {
            return leaf(pair, changed, removed);
        }
        presence(pair, changed, removed);
        self.members(id, pair, changed, removed);
    }

    fn map(&self, item: ItemId, pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
        if !both_are(pair, Value::is_object) {
            return leaf(pair, changed, removed);
        }
        presence(pair, changed, removed);
        let (old, new) = (object(pair.0), object(pair.1));
        let keys = union(old, new);
        for key in keys {
            let pair = (old.and_then(|o| o.get(key)), new.and_then(|n| n.get(key)));
            let (mut fresh, mut gone) = (FieldSet::default(), FieldSet::default());
            self.element(item, pair, &mut fresh, &mut gone);
            changed.put(|| format!("f:{key}"), fresh);
            removed.put(|| format!("f:{key}"), gone);
        }
    }

    fn list(
        &self,
        item: ItemId,
        pair: Pair<'_>,
        changed: &mut FieldSet,
        removed: &mut FieldSet,
        key_of: impl Fn(&Value) -> String,
    ) {
        if !both_are(pair, Value::is_array) {
            return leaf(pair, changed, removed);
        }
        presence(pair, changed, removed);
        let (old, new) = (elements(pair.0, &key_of), elements(pair.1, &key_of));
        for (key, element) in &old {
            let other = new.iter().find(|(k, _)| k == key).map(|(_, e)| *e);
            let (mut fresh, mut gone) = (FieldSet::default(), FieldSet::default());
            self.element(item, (Some(element), other), &mut fresh, &mut gone);
            changed.put(|| key.clone(), fresh);
            removed.put(|| key.clone(), gone);
        }
        for (key, element) in new.iter().filter(|(k, _)| !old.iter().any(|(o, _)| o == k)) {
            let mut fresh = FieldSet::default();
            self.element(item, (None, Some(element)), &mut fresh, &mut FieldSet::default());
            changed.put(|| key.clone(), fresh);
        }
    }

    fn element(&self, item: ItemId, pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
        match self.schema.item(item) {
            Type::Struct(id) => self.structure(id, pair, changed, removed),
            _ => leaf(pair, changed, removed),
        }
    }
}

/// The names of either side's members, each once.
fn union<'a>(old: Option<&'a Map<String, Value>>, new: Option<&'a Map<String, Value>>) -> Vec<&'a String> {
    let fresh = new.into_iter().flat_map(Map::keys).filter(|k| !old.is_some_and(|o| o.contains_key(*k)));
    old.into_iter().flat_map(Map::keys).chain(fresh).collect()
}

/// The elements of a list by their keys.
fn elements<'a>(side: Option<&'a Value>, key_of: &impl Fn(&Value) -> String) -> Vec<(String, &'a Value)> {
    let list = side.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().map(|e| (key_of(e), e)).collect()
}

fn side<'a>(members: Option<&'a Map<String, Value>>, key: &str, field: &Field) -> Option<&'a Value> {
    members?.get(key).or_else(|| implicit_default(field))
}

/// The value that an absent member has implicitly if its object is present.
pub(super) fn implicit_default(field: &Field) -> Option<&'static Value> {
    match field.ty {
        Type::Struct(_) if field.embedded => Some(&EMPTY_OBJECT),
        Type::List(_) if field.embedded => Some(&EMPTY_LIST),
        _ => match field.written_default? {
            DefaultValue::Null => Some(&Value::Null),
            DefaultValue::Text => Some(&EMPTY_TEXT),
            DefaultValue::Number => Some(&ZERO),
            DefaultValue::False => Some(&Value::Bool(false)),
            DefaultValue::Object => Some(&EMPTY_OBJECT),
        },
    }
}

fn object(side: Option<&Value>) -> Option<&Map<String, Value>> {
    side.and_then(Value::as_object)
}

fn both_are(pair: Pair<'_>, shape: fn(&Value) -> bool) -> bool {
    pair.0.is_none_or(shape) && pair.1.is_none_or(shape)
}

/// Whether the value exists on one side only and is an empty object there, which counts as a leaf.
fn emptied(pair: Pair<'_>) -> bool {
    let empty = |v: &Value| v.as_object().is_some_and(Map::is_empty);
    matches!(pair, (None, Some(v)) | (Some(v), None) if empty(v))
}

fn presence(pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
    changed.own |= pair.0.is_none();
    removed.own |= pair.1.is_none();
}

fn leaf(pair: Pair<'_>, changed: &mut FieldSet, removed: &mut FieldSet) {
    match pair {
        (_, None) => removed.own = true,
        (old, new) => changed.own |= old != new,
    }
}

/// `k:{"name":"a"}`: the element's keys in the order of their names.
pub(super) fn element_key(element: &Value, keys: &[String]) -> String {
    let mut sorted = Vec::new();
    let keys = match keys.is_sorted() {
        true => keys,
        false => {
            sorted.extend_from_slice(keys);
            sorted.sort_unstable();
            &sorted
        }
    };
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(b"k:{");
    for (name, value) in keys.iter().filter_map(|name| Some((name, element.get(name.as_str())?))) {
        if !key.ends_with(b"{") {
            key.push(b',');
        }
        // Names of keys are fields of the schema, so they need no escapes.
        key.push(b'"');
        key.extend_from_slice(name.as_bytes());
        key.extend_from_slice(b"\":");
        serde_json::to_writer(&mut key, value).expect("invariant: a JSON value always encodes into memory");
    }
    key.push(b'}');
    String::from_utf8(key).expect("invariant: JSON is text")
}
