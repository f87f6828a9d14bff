//! The fields of a created object, which all belong to its creator: the result of comparing it with an empty object,
//! but written as `fieldsV1` in one walk without building a `FieldSet`, because creates are frequent.

use super::compare::implicit_default;
use super::node::{Keys, Place};
use super::{ResetFields, SYSTEM, SYSTEM_META};
use crate::schema::{Field, ItemId, ListKind, ObjectType, Schema, StructId, Type};
use serde_json::{Map, Value};

/// The fields of a created object of type `ty`, without the members `reset`; `None` if there are none.
pub(super) fn fields(ty: &ObjectType, object: &Value, reset: ResetFields<'_>) -> Option<Value> {
    let walk = Walk { schema: ty.schema() };
    let mut out = Map::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let hidden = SYSTEM.contains(&name.as_str()) || reset.excludes(name);
        let root = walk.schema.at(ty.root());
        let Some(field) = root.field(name).filter(|_| !hidden) else {
            if root.open && !hidden {
                put(&mut out, name, walk.of_type(Type::Any, value));
            }
            continue;
        };
        if name != "metadata" {
            walk.member(&mut out, field, true, value);
        } else if let (Type::Struct(id), Some(members)) = (field.ty, value.as_object()) {
            put(&mut out, name, written(false, walk.members(id, true, members, &SYSTEM_META)));
        }
    }
    written(false, out)
}

/// Whether the values of a custom resource have the types of its schema. Those of other objects have them since they were decoded.
pub(super) fn fits(ty: &ObjectType, object: &Value) -> bool {
    let schema = ty.schema();
    !schema.is_structural() || has_type(schema, Type::Struct(ty.root()), object)
}

fn has_type(schema: &Schema, ty: Type, value: &Value) -> bool {
    match (ty, value) {
        (_, Value::Null) | (Type::Any | Type::IntOrString, _) => true,
        (Type::Struct(id), Value::Object(members)) => {
            let owner = schema.at(id);
            let fits = |(name, value): (&String, &Value)| {
                owner.field(name).is_none_or(|field| has_type(schema, field.ty, value))
            };
            members.iter().all(fits)
        }
        (Type::Map(item), Value::Object(members)) => {
            members.values().all(|value| has_type(schema, schema.item(item), value))
        }
        (Type::List(item), Value::Array(items)) => {
            items.iter().all(|value| has_type(schema, schema.item(item), value))
        }
        (Type::Bool, Value::Bool(_)) | (Type::Int32 | Type::Int64 | Type::Float, Value::Number(_)) => true,
        (ty, Value::String(_)) => {
            matches!(ty, Type::String | Type::Quantity | Type::Time | Type::MicroTime | Type::Bytes)
        }
        _ => false,
    }
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
            } else if kind.open && kind.field(name).is_none() {
                put(&mut out, name, self.of_type(Type::Any, value));
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
            (Type::Struct(id), ..) => self.structure(id, stands, field.granular, value),
            (Type::Map(item), _, Value::Object(members)) => {
                let mut out = Map::new();
                members.iter().for_each(|(key, value)| put(&mut out, key, self.element(item, value)));
                written(!stands, out)
            }
            (Type::List(item), ListKind::Map(keys), Value::Array(elements)) => {
                self.list((item, Keys::Members(keys)), stands, elements)
            }
            (Type::List(item), ListKind::Set, Value::Array(elements)) => {
                self.list((item, Keys::Scalar), stands, elements)
            }
            (Type::Any, _, Value::Object(members)) if self.schema.is_structural() => {
                self.deduced(stands, members)
            }
            _ => leaf(),
        }
    }

    fn structure(&self, id: StructId, stands: bool, granular: bool, value: &Value) -> Option<Value> {
        let atomic = self.schema.at(id).atomic && !granular;
        match value {
            Value::Object(members) if !atomic && (stands || !members.is_empty()) => {
                written(!stands, self.members(id, stands, members, &[]))
            }
            _ => leaf(),
        }
    }

    /// Members of a value of unknown type.
    fn deduced(&self, stands: bool, members: &Map<String, Value>) -> Option<Value> {
        let mut out = Map::new();
        members.iter().for_each(|(key, value)| put(&mut out, key, self.of_type(Type::Any, value)));
        written(!stands, out)
    }

    fn list(&self, (item, keys): (ItemId, Keys<'_>), stands: bool, elements: &[Value]) -> Option<Value> {
        let place = Place::of(self.schema, Type::List(item));
        let mut out = Map::new();
        for element in elements {
            let Some(key) = place.encoded_element(item, keys, element) else { continue };
            // Elements that occur several times are owned together and as a whole.
            let fields = match out.contains_key(&key) {
                true => leaf(),
                false => self.element(item, element),
            };
            out.extend(fields.map(|fields| (key, fields)));
        }
        // An empty list that replaces null is owned as a whole.
        written(!stands || elements.is_empty(), out)
    }

    fn element(&self, item: ItemId, value: &Value) -> Option<Value> {
        self.of_type(self.schema.item(item), value)
    }

    fn of_type(&self, ty: Type, value: &Value) -> Option<Value> {
        match (ty, value) {
            (Type::Struct(id), _) => self.structure(id, false, false, value),
            (Type::Any, Value::Object(members)) if self.schema.is_structural() => {
                self.deduced(false, members)
            }
            (Type::Map(item), Value::Object(members)) => {
                let mut out = Map::new();
                members.iter().for_each(|(key, value)| put(&mut out, key, self.element(item, value)));
                written(true, out)
            }
            _ => leaf(),
        }
    }
}
