//! Strategic merge: lists of objects are merged by a key, and directives (`$patch`, `$retainKeys`,
//! `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) express what a plain merge cannot. The schema has the merge key
//! of each list.

mod order;

use super::go_print::print;
use crate::schema::{Field, ObjectType, PatchRule, Schema, Struct, Type};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StrategicError {
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("unknown patch type: {0} in map: {1}")]
    UnknownDirective(String, String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    #[error("expected a []interface {{}}, but received a {0}")]
    NotAList(&'static str),
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    Order(String, String),
    #[error("list element types are not identical: [{0} {1}]")]
    MixedTypes(String, String),
}

type Members = Map<String, Value>;
type Done<T = ()> = Result<T, StrategicError>;

/// Applies `patch` (an object) to `target`, an object of type `ty`.
pub fn apply(target: &mut Value, patch: Value, ty: &ObjectType) -> Done {
    let Value::Object(patch) = patch else { return Ok(()) };
    let original = std::mem::take(crate::access::as_object(target));
    let owner = Owner { schema: ty.schema(), ty: Some(ty.schema().at(ty.root())) };
    *target = Value::Object(merge_members(original, patch, owner)?);
    Ok(())
}

/// The struct whose members are merged, if the schema knows it.
#[derive(Clone, Copy)]
struct Owner<'s> {
    schema: &'s Schema,
    ty: Option<&'s Struct>,
}

impl<'s> Owner<'s> {
    fn field(self, name: &str) -> Option<&'s Field> {
        self.ty?.field(name)
    }

    /// The owner of the members of a value of type `ty`.
    fn below(self, ty: Option<Type>) -> Owner<'s> {
        let ty = match ty {
            Some(Type::Struct(id)) => Some(self.schema.at(id)),
            _ => None,
        };
        Owner { ty, ..self }
    }

    /// The owner of the members of the elements of a list of type `ty`.
    fn below_item(self, ty: Type) -> Owner<'s> {
        match ty {
            Type::List(item) => self.below(Some(self.schema.item(item))),
            _ => Owner { ty: None, ..self },
        }
    }
}

fn merge_members(mut original: Members, mut patch: Members, owner: Owner<'_>) -> Done<Members> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Map::new()),
            _ => {
                let shown = print(&directive);
                patch.insert(PATCH.to_owned(), directive);
                Err(StrategicError::UnknownDirective(shown, print(&Value::Object(patch))))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, owner)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            delete_from(&mut original, list, value);
            continue;
        }
        let field = owner.field(&key);
        match (value, original.remove(&key)) {
            (Value::Null, _) => {}
            (value, None) => {
                original.insert(key, clean(value));
            }
            (Value::Object(patch), Some(Value::Object(old))) if !field.is_some_and(|f| f.patch.replace) => {
                original
                    .insert(key, Value::Object(merge_members(old, patch, owner.below(field.map(|f| f.ty)))?));
            }
            (Value::Array(patch), Some(Value::Array(old))) if field.is_some_and(|f| f.patch.merge) => {
                let field = field.expect("the guard has seen the field");
                original.insert(key, Value::Array(merge_lists(old, patch, field, owner)?));
            }
            (value, Some(_)) => {
                original.insert(key, clean(value));
            }
        }
    }
    Ok(original)
}

fn retain_keys(original: &mut Members, patch: &mut Members) -> Done {
    let Some(keep) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keep = keep.as_array().ok_or(StrategicError::RetainKeys)?;
    let kept = |key: &str| keep.iter().any(|k| k == key);
    if !patch.keys().all(|k| k.starts_with('$') || kept(k)) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|k, _| kept(k));
    Ok(())
}

/// Handles the lists whose order the patch gives, and takes them out of the patch.
fn set_orders(original: &mut Members, patch: &mut Members, owner: Owner<'_>) -> Done {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = list(patch.remove(&directive).unwrap_or(Value::Null))?;
        let key = &directive[SET_ORDER.len()..];
        let field = owner.field(key);
        let merge_key = field.map_or("", |f| f.patch.merge_key.as_str());
        if let Some(deleted) = patch.remove(&format!("{DELETE_FROM}{key}")) {
            delete_from(original, key, deleted);
        }
        let old = original.remove(key).map_or(Ok(Vec::new()), list)?;
        let new = patch.remove(key).map_or(Ok(Vec::new()), list)?;
        order::check(&new, &order, merge_key)?;
        let rule = Field {
            patch: PatchRule { merge: true, ..field.map(|f| f.patch.clone()).unwrap_or_default() },
            ..plain(field)
        };
        let merged = merge_lists(old.clone(), new, &rule, owner)?;
        let (mine, theirs) = order::partition(merged, &order, merge_key);
        let merged = order::normalise(mine, theirs, &order, &old, merge_key);
        if !merged.is_empty() {
            original.insert(key.to_owned(), Value::Array(merged));
        }
    }
    Ok(())
}

fn plain(field: Option<&Field>) -> Field {
    field.cloned().unwrap_or(Field {
        name: String::new(),
        ty: Type::Any,
        required: false,
        omit_zero: false,
        keep_empty: false,
        embedded: false,
        written_default: None,
        list: crate::schema::ListKind::Atomic,
        atomic: false,
        patch: PatchRule::default(),
    })
}

fn list(value: Value) -> Done<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        Value::Object(_) => Err(StrategicError::NotAList("map[string]interface {}")),
        Value::String(_) => Err(StrategicError::NotAList("string")),
        Value::Number(_) => Err(StrategicError::NotAList("float64")),
        Value::Bool(_) => Err(StrategicError::NotAList("bool")),
    }
}

fn delete_from(original: &mut Members, key: &str, deleted: Value) {
    // A value that is not a list deletes nothing.
    if let (Value::Array(deleted), Some(Value::Array(items))) = (deleted, original.get_mut(key)) {
        items.retain(|item| !deleted.contains(item));
    }
}

/// Merges two lists whose elements are told apart by the field's merge key, or are scalars.
fn merge_lists(original: Vec<Value>, patch: Vec<Value>, field: &Field, owner: Owner<'_>) -> Done<Vec<Value>> {
    let scalars = |items: &[Value]| items.iter().all(|i| !i.is_object());
    if field.patch.merge_key.is_empty() || scalars(&original) && scalars(&patch) {
        if patch.iter().chain(&original).any(Value::is_object) && field.patch.merge_key.is_empty() {
            return Ok(clean_all(patch));
        }
        let mut merged = original.clone();
        for item in &patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        let (mine, theirs) = order::partition(merged, &patch, "");
        return Ok(order::normalise(mine, theirs, &patch, &original, ""));
    }
    if patch.iter().chain(&original).any(|i| !i.is_object()) {
        let shown = |items: Vec<Value>| print(&Value::Array(items));
        return Err(StrategicError::MixedTypes(shown(original), shown(patch)));
    }
    merge_objects(original, patch, field, owner)
}

fn merge_objects(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &Field,
    owner: Owner<'_>,
) -> Done<Vec<Value>> {
    let key = field.patch.merge_key.as_str();
    let (server_order, mut merged) = (original.clone(), original);
    let mut plain = Vec::with_capacity(patch.len());
    let mut replaced = false;
    for element in patch {
        match element.get(PATCH) {
            None => plain.push(element),
            Some(d) if d == "replace" => replaced = true,
            Some(d) if d == "delete" => {
                let wanted = key_of(&element, key)?;
                merged.retain(|item| item.get(key) != Some(&wanted));
            }
            Some(d) if d == "merge" => return Err(StrategicError::MergeDirective),
            Some(d) => return Err(StrategicError::UnknownDirective(print(d), print(&element))),
        }
    }
    if replaced {
        return Ok(clean_all(plain));
    }
    for element in &plain {
        let wanted = key_of(element, key)?;
        let Value::Object(patch) = element.clone() else { continue };
        match merged.iter_mut().find(|item| item.get(key) == Some(&wanted)) {
            Some(found) => {
                let old = std::mem::take(crate::access::as_object(found));
                *found = Value::Object(merge_members(old, patch, owner.below_item(field.ty))?);
            }
            None => merged.push(Value::Object(without_directives(patch))),
        }
    }
    let (mine, theirs) = order::partition(merged, &plain, key);
    Ok(order::normalise(mine, theirs, &plain, &server_order, key))
}

fn key_of(element: &Value, key: &str) -> Done<Value> {
    let found = element.get(key).cloned();
    found.ok_or_else(|| StrategicError::NoMergeKey(print(element), key.to_owned()))
}

/// A value that the patch adds, without directives and nulls.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(without_directives(members)),
        Value::Array(items) => Value::Array(clean_all(items)),
        other => other,
    }
}

fn clean_all(items: Vec<Value>) -> Vec<Value> {
    let deleted = |i: &Value| i.get(PATCH).is_some();
    items.into_iter().filter(|i| !deleted(i)).map(clean).collect()
}

fn without_directives(members: Members) -> Members {
    let kept = members.into_iter().filter(|(k, v)| {
        !(v.is_null()
            || k == PATCH
            || k == RETAIN_KEYS
            || k.starts_with(SET_ORDER)
            || k.starts_with(DELETE_FROM))
    });
    kept.map(|(k, v)| (k, clean(v))).collect()
}
