//! Lists that are sets or maps have no duplicates.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use shim_model::field::FieldError;

use super::path::Path;
use super::props::Props;

/// The duplicates in lists of an object.
pub(super) fn validate(schema: &Props, object: &Value, errors: &mut Vec<FieldError>) {
    members(schema, object, &Path::ROOT, errors);
}

fn members(schema: &Props, object: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Some(object) = object.as_object() else { return };
    if let Some(further) = schema.further() {
        for (key, value) in object {
            of_value(further, value, &path.key(key), errors);
        }
    }
    for (name, value) in object {
        if let Some(property) = schema.properties.get(name) {
            of_value(property, value, &path.child(name), errors);
        }
    }
}

fn of_value(schema: &Props, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let Value::Array(items) = value else { return members(schema, value, path, errors) };
    match schema.list_type.as_deref() {
        Some("set") => {
            for at in repeated(items.iter()) {
                errors.push(FieldError::duplicate(path.index(at), items[at].clone()));
            }
        }
        Some("map") => map(schema, items, path, errors),
        _ => {}
    }
    if let Some(schema) = &schema.items {
        for (at, item) in items.iter().enumerate() {
            of_value(schema, item, &path.index(at), errors);
        }
    }
}

fn map(schema: &Props, items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(at) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let why = "must be an object for an array of list-type map";
        return errors.push(FieldError::invalid(path.index(at), items[at].clone(), why));
    }
    let key = |item: &Value| {
        let found = schema.map_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(found.collect::<Map<_, _>>())
    };
    let keys: Vec<Value> = items.iter().map(key).collect();
    for at in repeated(keys.iter()) {
        errors.push(FieldError::duplicate(path.index(at), keys[at].clone()));
    }
}

/// The index of the first repetition of each value that occurs more than once.
fn repeated<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<usize> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut repeated = Vec::new();
    for (at, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            repeated.push(at);
        }
    }
    repeated
}
