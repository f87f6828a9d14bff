//! The fields of a new object, all its maker's: what comparing it with nothing would find, written down as `fieldsV1` in
//! one walk. Nearly every write that is no update is a create, so no set of paths is built in between.

use super::compare::{element_key, unsaid};
use crate::schema::{Field, ItemId, ListKind, Schema, StructId, Type, schema};
use serde_json::{Map, Value};

/// Members of every object that nobody manages.
pub(super) const SYSTEM: [&str; 2] = ["apiVersion", "kind"];
/// Members of its metadata that nobody manages: identity and what the server itself keeps.
pub(super) const SYSTEM_META: [&str; 8] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The fields of a new object of type `root`, without the members `reset`; nothing if there are none.
pub(super) fn fields(root: StructId, object: &Value, reset: &[&[&str]]) -> Option<Value> {
    let walk = Walk { schema: schema() };
    let mut out = Map::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let hidden = SYSTEM.contains(&name.as_str()) || reset.iter().any(|path| *path == [name.as_str()]);
        let Some(field) = walk.schema.at(root).field(name).filter(|_| !hidden) else { continue };
        if name != "metadata" {
            walk.member(&mut out, field, true, value);
        } else if let (Type::Struct(id), Some(members)) = (field.ty, value.as_object()) {
            put(&mut out, name, written(false, walk.members(id, true, members, &SYSTEM_META)));
        }
    }
    written(false, out)
}

/// A path that is in the set by itself or has paths below it; nothing otherwise.
fn written(own: bool, mut members: Map<String, Value>) -> Option<Value> {
    if own && !members.is_empty() {
        members.insert(".".to_owned(), Value::Object(Map::new()));
    }
    (own || !members.is_empty()).then_some(Value::Object(members))
}

fn leaf() -> Option<Value> {
    written(true, Map::new())
}

fn put(out: &mut Map<String, Value>, name: &str, fields: Option<Value>) {
    if let Some(fields) = fields {
        let mut key = String::with_capacity(2 + name.len());
        key.push_str("f:");
        key.push_str(name);
        out.insert(key, fields);
    }
}

/// `stands` everywhere: whether the value's place is in every object of the type, so that it alone says nothing.
struct Walk {
    schema: &'static Schema,
}

impl Walk {
    fn members(
        &self,
        id: StructId,
        stands: bool,
        members: &Map<String, Value>,
        hidden: &[&str],
    ) -> Map<String, Value> {
        let kind = self.schema.at(id);
        let mut out = Map::new();
        for (name, value) in members {
            if let Some(field) = kind.field(name).filter(|_| !hidden.contains(&name.as_str())) {
                self.member(&mut out, field, stands, value);
            }
        }
        out
    }

    fn member(&self, out: &mut Map<String, Value>, field: &Field, stands: bool, value: &Value) {
        let before = unsaid(field).filter(|_| stands);
        if before != Some(value) {
            put(out, &field.name, self.field(field, before.is_some(), value));
        }
    }

    fn field(&self, field: &Field, stands: bool, value: &Value) -> Option<Value> {
        match (field.ty, &field.list, value) {
            _ if field.atomic => leaf(),
            (Type::Struct(id), ..) => self.structure(id, stands, value),
            (Type::Map(item), _, Value::Object(members)) => {
                let mut out = Map::new();
                members.iter().for_each(|(key, value)| put(&mut out, key, self.element(item, value)));
                written(!stands, out)
            }
            (Type::List(item), ListKind::Map(keys), Value::Array(elements)) => {
                self.list(item, stands, elements, |element| element_key(element, keys))
            }
            (Type::List(item), ListKind::Set, Value::Array(elements)) => {
                self.list(item, stands, elements, |element| format!("v:{element}"))
            }
            _ => leaf(),
        }
    }

    fn structure(&self, id: StructId, stands: bool, value: &Value) -> Option<Value> {
        match value {
            Value::Object(members) if !self.schema.at(id).atomic && (stands || !members.is_empty()) => {
                written(!stands, self.members(id, stands, members, &[]))
            }
            _ => leaf(),
        }
    }

    fn list(
        &self,
        item: ItemId,
        stands: bool,
        elements: &[Value],
        key_of: impl Fn(&Value) -> String,
    ) -> Option<Value> {
        let mut out = Map::new();
        for element in elements {
            if let Some(fields) = self.element(item, element) {
                out.insert(key_of(element), fields);
            }
        }
        written(!stands, out)
    }

    fn element(&self, item: ItemId, value: &Value) -> Option<Value> {
        match self.schema.item(item) {
            Type::Struct(id) => self.structure(id, false, value),
            _ => leaf(),
        }
    }
}
