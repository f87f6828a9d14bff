//! Merging lists: of objects by their merge key, of scalars as sets, and in the order that `$setElementOrder` gives.

use super::directives::{directive_name, remove_directives, type_name};
use super::order::{self, require_key};
use super::{Done, Members, Owner, PATCH, SET_ORDER, StrategicError, merge_members};
use crate::schema::{Field, Type};
use serde_json::Value;

/// Merges the lists whose order the patch gives, and takes them out of the patch.
pub(super) fn set_orders(original: &mut Members, patch: &mut Members, owner: Owner<'_>) -> Done {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = list(patch.remove(&directive).unwrap_or(Value::Null))?;
        let key = directive_name(&directive, SET_ORDER).ok_or(StrategicError::SetElementOrder)?;
        let old = original.get(key).cloned().map(list).transpose()?;
        let new = patch.remove(key).map(list).transpose()?;
        let (field, items) = owner.list(key)?;
        let merge_key = field.patch.merge_key.as_str();
        order::check(new.as_deref().unwrap_or_default(), &order, merge_key)?;
        let merged = match (old.clone(), new.clone()) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(remove_directives).collect(),
            (Some(old), Some(new)) => merge_field(old, new, field, items, false)?,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let (mine, theirs) = order::partition(merged, &order, merge_key)?;
        element_type(&old, &new)?.ok_or(StrategicError::NoElements)?;
        let old = without_deleted(old, &new, merge_key);
        let merged = order::normalise(mine, theirs, &order, &old, merge_key)?;
        original.insert(key.to_owned(), Value::Array(merged));
    }
    Ok(())
}

fn list(value: Value) -> Done<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(StrategicError::not_a_list(&other)),
    }
}

/// Merges the values of a list: `deletes` says that the patch has the scalars to remove.
pub(super) fn merge_field(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &Field,
    owner: Owner<'_>,
    deletes: bool,
) -> Done<Vec<Value>> {
    if !field.patch.merge && !deletes {
        return Ok(patch);
    }
    let key = field.patch.merge_key.as_str();
    match element_type(&original, &patch)? {
        None => Ok(original),
        Some("map[string]interface {}") if key.is_empty() => {
            Err(StrategicError::NoKeyOfList(go_kind(owner.ty)))
        }
        Some("map[string]interface {}") => merge_objects(original, patch, key, owner),
        Some(_) if deletes => Ok(original.into_iter().filter(|item| !patch.contains(item)).collect()),
        Some(_) => merge_scalars(original, patch, key),
    }
}

/// The common type of all elements; none if there are no elements.
fn element_type(original: &[Value], patch: &[Value]) -> Done<Option<&'static str>> {
    let mut all = original.iter().chain(patch);
    let Some(first) = all.next() else { return Ok(None) };
    if first.is_array() {
        return Err(StrategicError::ListOfLists);
    }
    let found = type_name(first);
    if first.is_null() || all.any(|item| type_name(item) != found) {
        return Err(StrategicError::mixed(original, patch));
    }
    Ok(Some(found))
}

/// The Go kind of a list's elements.
fn go_kind(ty: Type) -> &'static str {
    match ty {
        Type::String | Type::Time | Type::MicroTime => "string",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float => "float64",
        Type::List(_) | Type::Bytes => "slice",
        Type::Map(_) => "map",
        Type::Struct(_) | Type::IntOrString | Type::Quantity | Type::Any => "struct",
    }
}

fn merge_scalars(original: Vec<Value>, patch: Vec<Value>, key: &str) -> Done<Vec<Value>> {
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for item in original.iter().chain(&patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    let (mine, theirs) = order::partition(merged, &patch, key)?;
    order::normalise(mine, theirs, &patch, &original, key)
}

fn merge_objects(original: Vec<Value>, patch: Vec<Value>, key: &str, owner: Owner<'_>) -> Done<Vec<Value>> {
    let (original, patch) = apply_element_directives(original, patch, key)?;
    let server_order = original.clone();
    let mut merged = original;
    for element in &patch {
        let wanted = require_key(element, key)?;
        match merged.iter_mut().find(|item| item.get(key) == Some(wanted)) {
            Some(found) => {
                let old = std::mem::take(crate::access::as_object(found));
                let Value::Object(patch) = element.clone() else { continue };
                *found = Value::Object(merge_members(old, patch, owner)?);
            }
            None => merged.push(element.clone()),
        }
    }
    let (mine, theirs) = order::partition(merged, &patch, key)?;
    order::normalise(mine, theirs, &patch, &server_order, key)
}

/// Carries out `$patch` of elements: what is left of the original, and the plain elements of the patch. After
/// `replace` nothing of the original is left, and the patch's elements take its place.
fn apply_element_directives(
    original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Done<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replaced = false;
    let original = without_deleted(original, &patch, key);
    for element in patch {
        match element.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
            None => plain.push(element),
            Some("replace") => replaced = true,
            Some("delete") => {
                require_key(&element, key)?;
            }
            Some("merge") => return Err(StrategicError::MergeDirective),
            Some(_) => return Err(StrategicError::unknown_directive(&element)),
        }
    }
    Ok(if replaced { (plain, Vec::new()) } else { (original, plain) })
}

fn without_deleted(mut original: Vec<Value>, patch: &[Value], key: &str) -> Vec<Value> {
    let deleted: Vec<&Value> = patch
        .iter()
        .filter(|e| e.get(PATCH).is_some_and(|d| d == "delete"))
        .filter_map(|e| e.get(key))
        .collect();
    original.retain(|item| !item.get(key).is_some_and(|found| deleted.contains(&found)));
    original
}
