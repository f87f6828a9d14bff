//! How a place in an object behaves for managed fields and apply: as one value (a leaf), as members with owners of their
//! own, or as a list whose elements have owners of their own.

use super::path::{PathElement, encode_keys};
use crate::go_quote::go_quote_list;
use crate::schema::{Field, ItemId, ListKind, ObjectType, Schema, StructId, Type};
use serde_json::Value;

/// The type at a place, with what its field says about it.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    pub schema: &'s Schema,
    pub ty: Type,
    atomic: bool,
    granular: bool,
    list: &'s ListKind,
}

/// How the value at a place is owned.
#[derive(Clone, Copy)]
pub(super) enum Shape<'s> {
    /// As a whole.
    Leaf,
    /// Member by member.
    Members,
    /// Element by element.
    Elements(ItemId, Keys<'s>),
}

/// What identifies the elements of a list.
#[derive(Clone, Copy)]
pub(super) enum Keys<'s> {
    /// The elements are scalars and identify themselves.
    Scalar,
    /// These members of the elements.
    Members(&'s [String]),
}

static ATOMIC: ListKind = ListKind::Atomic;

impl<'s> Place<'s> {
    /// The whole object.
    pub fn root(ty: &'s ObjectType) -> Self {
        Place::of(ty.schema(), Type::Struct(ty.root()))
    }

    pub(super) fn of(schema: &'s Schema, ty: Type) -> Self {
        Place { schema, ty, atomic: false, granular: false, list: &ATOMIC }
    }

    /// The place of a field's value.
    pub fn field(self, field: &'s Field) -> Self {
        let Field { ty, atomic, granular, list, .. } = field;
        Place { schema: self.schema, ty: *ty, atomic: *atomic, granular: *granular, list }
    }

    /// The place of an element of a list, or of a map's member.
    pub fn item(self, item: ItemId) -> Self {
        Place::of(self.schema, self.schema.item(item))
    }

    /// The field called `name`, if this is a struct that has it.
    pub fn known(self, name: &str) -> Option<&'s Field> {
        match self.ty {
            Type::Struct(id) => self.schema.at(id).field(name),
            _ => None,
        }
    }

    /// The place of the member called `name`; `None` if a struct has no such field and is not open.
    pub fn member(self, name: &str) -> Option<Self> {
        match self.ty {
            Type::Struct(id) => match self.known(name) {
                Some(field) => Some(self.field(field)),
                None => self.schema.at(id).open.then(|| Place::of(self.schema, Type::Any)),
            },
            Type::Map(item) => Some(self.item(item)),
            _ => Some(Place::of(self.schema, Type::Any)),
        }
    }

    /// Whether the type is unknown, so that the values tell how they are owned.
    pub fn is_deduced(self) -> bool {
        self.ty == Type::Any && self.schema.is_structural()
    }

    /// How a value here is owned. `sample` is one of the values here, which matters where the type is unknown.
    pub fn shape(self, sample: Option<&Value>) -> Shape<'s> {
        match self.ty {
            Type::Struct(id) if !self.is_atomic(id) => Shape::Members,
            Type::Map(_) if !self.atomic => Shape::Members,
            Type::List(item) => match self.list {
                ListKind::Atomic => Shape::Leaf,
                ListKind::Set => Shape::Elements(item, Keys::Scalar),
                ListKind::Map(keys) => Shape::Elements(item, Keys::Members(keys)),
            },
            Type::Any if self.schema.is_structural() && sample.is_some_and(Value::is_object) => {
                Shape::Members
            }
            _ => Shape::Leaf,
        }
    }

    fn is_atomic(self, id: StructId) -> bool {
        self.atomic || self.schema.at(id).atomic && !self.granular
    }

    /// The path element of a list's element. An element without any of the keys has none.
    pub fn element(self, item: ItemId, keys: Keys<'_>, element: &Value) -> Result<PathElement, ElementError> {
        let names = match keys {
            Keys::Scalar => {
                return match element {
                    Value::Object(_) => Err(ElementError::SetOfObjects),
                    Value::Array(_) => Err(ElementError::SetOfLists),
                    Value::Null => Err(ElementError::SetOfNulls),
                    scalar => Ok(PathElement::Value(scalar.clone())),
                };
            }
            Keys::Members(names) => names,
        };
        match element {
            Value::Null => return Err(ElementError::Null),
            Value::Object(_) => {}
            _ => return Err(ElementError::NoObject),
        }
        let mut found: Vec<(String, Value)> = names
            .iter()
            .filter_map(|name| Some((name.clone(), self.key(item, name, element)?.clone())))
            .collect();
        if found.is_empty() {
            return Err(ElementError::NoKeys(names.to_vec()));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(PathElement::Key(found))
    }

    /// The value of one key of an element.
    fn key<'v>(self, item: ItemId, name: &str, element: &'v Value) -> Option<&'v Value>
    where
        's: 'v,
    {
        element.get(name).or_else(|| self.item(item).known(name)?.key_default.as_ref())
    }

    /// The path element of a list's element as `fieldsV1` writes it, without building it; `None` if it has none.
    pub fn encoded_element(self, item: ItemId, keys: Keys<'_>, element: &Value) -> Option<String> {
        let Keys::Members(names) = keys else {
            let scalar = !element.is_object() && !element.is_array() && !element.is_null();
            return scalar.then(|| format!("v:{element}"));
        };
        let find = |name: &'_ str| self.key(item, name, element);
        if !element.is_object() || !names.iter().any(|name| find(name).is_some()) {
            return None;
        }
        if names.is_sorted() {
            return Some(encode_keys(names.iter().filter_map(|n| Some((n.as_str(), find(n)?)))));
        }
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        Some(encode_keys(sorted.into_iter().filter_map(|n| Some((n, find(n)?)))))
    }
}

/// Why an element of a list cannot be identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ElementError {
    #[error("associative list without keys has an element that's a map type")]
    SetOfObjects,
    #[error("not supported: associative list with lists as elements")]
    SetOfLists,
    #[error("associative list without keys has an element that's an explicit null")]
    SetOfNulls,
    #[error("associative list with keys may not have a null element")]
    Null,
    #[error("associative list with keys may not have non-map elements")]
    NoObject,
    #[error(
        "associative list with keys has an element that omits all key fields {} (and doesn't have default values for any key fields)",
        go_quote_list(.0)
    )]
    NoKeys(Vec<String>),
}

/// Whether a value is absent, null, or an empty object or list: two of these are compared and merged as leaves.
pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
