//! The fields of a created object, which all belong to its creator: the result of comparing it with an empty object,
//! but written as `fieldsV1` in one walk without building a `FieldSet`, because creates are frequent.

use super::compare::{element_key, implicit_default};
use crate::schema::{Field, ItemId, ListKind, ObjectType, Schema, StructId, Type};
use serde_json::{Map, Value};

/// Members of every object that are not managed.
pub(super) const SYSTEM: [&str; 2] = ["apiVersion", "kind"];
/// Members of the metadata that are not managed: identity, and what the server sets.
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

/// The fields of a created object of type `ty`, without the members `reset`; `None` if there are none.
pub(super) fn fields(ty: &ObjectType, object: &Value, reset: &[&[&str]]) -> Option<Value> {
    let walk = Walk { schema: ty.schema() };
    let mut out = Map::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let hidden = SYSTEM.contains(&name.as_str()) || reset.iter().any(|path| *path == [name.as_str()]);
        let Some(field) = walk.schema.at(ty.root()).field(name).filter(|_| !hidden) else { continue };
        if name != "metadata" {
            walk.member(&mut out, field, true, value);
        } else if let (Type::Struct(id), Some(members)) = (field.ty, value.as_object()) {
            put(&mut out, name, written(false, walk.members(id, true, members, &SYSTEM_META)));
        }
    }
    written(false, out)
}

/// The encoding of a path that is in the set or has paths below it; `None` otherwise.
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

/// Walks an object along the schema. `stands` in its methods: every object of the type has this value implicitly (an
/// embedded struct), so its presence alone is not recorded.
struct Walk<'s> {
    schema: &'s Schema,
}

impl Walk<'_> {
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
        let before = implicit_default(field).filter(|_| stands);
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
