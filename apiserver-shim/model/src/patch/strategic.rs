//! Strategic merge: lists of objects are merged by a key, and directives (`$patch`, `$retainKeys`,
//! `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) express what a plain merge cannot. The schema has the merge key
//! of each list.

mod directives;
mod error;
mod lists;
mod order;

pub use error::StrategicError;

use crate::schema::{Field, ObjectType, Schema, Struct, Type};
use directives::{directive_name, discard_nulls, remove_directives, retain_keys, type_name};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

type Members = Map<String, Value>;
type Done<T = ()> = Result<T, StrategicError>;

/// Applies `patch` (an object) to `target`, an object of type `ty`.
pub fn apply(target: &mut Value, patch: Value, ty: &ObjectType) -> Done {
    let Value::Object(patch) = patch else { return Ok(()) };
    let original = std::mem::take(crate::access::as_object(target));
    let owner = Owner { schema: ty.schema(), ty: Type::Struct(ty.root()) };
    *target = Value::Object(merge_members(original, patch, owner)?);
    Ok(())
}

/// The type whose members are merged.
#[derive(Clone, Copy)]
struct Owner<'s> {
    schema: &'s Schema,
    ty: Type,
}

impl<'s> Owner<'s> {
    fn structure(self) -> Option<&'s Struct> {
        match self.ty {
            Type::Struct(id) => Some(self.schema.at(id)),
            _ => None,
        }
    }

    /// The field that the patch names. Upstream cannot merge below what its types do not know.
    fn field(self, name: &str) -> Done<&'s Field> {
        let unknown = |ty: &str| StrategicError::UnknownField(ty.to_owned(), name.to_owned());
        match (self.structure(), self.ty) {
            (Some(known), _) => known.field(name).ok_or_else(|| unknown(known.short_name())),
            (None, Type::Map(_)) => Err(StrategicError::NotAStruct("map")),
            (None, _) => Err(unknown("RawExtension")),
        }
    }

    /// The owner of the members of a value of type `ty`.
    fn below(self, ty: Type) -> Owner<'s> {
        Owner { ty, ..self }
    }

    /// The field of a list, and the owner of the members of its elements.
    fn list(self, name: &str) -> Done<(&'s Field, Owner<'s>)> {
        let field = self.field(name)?;
        match field.ty {
            Type::List(item) => Ok((field, self.below(self.schema.item(item)))),
            _ => Err(StrategicError::NoListField),
        }
    }
}

fn merge_members(mut original: Members, mut patch: Members, owner: Owner<'_>) -> Done<Members> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => {
                patch.insert(PATCH.to_owned(), directive);
                Err(StrategicError::unknown_directive(&Value::Object(patch)))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    lists::set_orders(&mut original, &mut patch, owner)?;
    for (key, value) in patch {
        merge_member(&mut original, key, value, owner)?;
    }
    Ok(original)
}

fn merge_member(original: &mut Members, key: String, value: Value, owner: Owner<'_>) -> Done {
    let deletes = key.starts_with(DELETE_FROM);
    let key = if deletes {
        directive_name(&key, DELETE_FROM).ok_or(StrategicError::PrimitiveList)?.to_owned()
    } else {
        key
    };
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (value, original.remove(&key)) {
        (Value::Object(patch), Some(Value::Object(old))) => {
            let field = owner.field(&key)?;
            Value::Object(match field.patch.replace {
                true => patch,
                false => merge_members(old, patch, owner.below(field.ty))?,
            })
        }
        (Value::Array(patch), Some(Value::Array(old))) => {
            let (field, items) = owner.list(&key)?;
            Value::Array(lists::merge_field(old, patch, field, items, deletes)?)
        }
        (value, Some(old)) if deletes && type_name(&value) != type_name(&old) => old,
        (_, None) if deletes => return Ok(()),
        (value, _) => match remove_directives(discard_nulls(value)) {
            Some(value) => value,
            None => return Ok(()),
        },
    };
    original.insert(key, merged);
    Ok(())
}

#[cfg(test)]
mod tests;
