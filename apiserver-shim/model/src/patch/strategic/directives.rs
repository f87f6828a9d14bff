//! Directives inside of values: `$retainKeys`, `$patch` of what the patch adds, and the names of prefixed directives.

use super::{DELETE_FROM, Done, Members, PATCH, RETAIN_KEYS, SET_ORDER, StrategicError};
use serde_json::Value;

/// The list that a directive such as `$setElementOrder/ports` is about.
pub(super) fn directive_name<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

/// The Go type that a value is decoded into, as error messages print it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Drops the members that `$retainKeys` does not name. Every member that the patch sets must be among them; a null
/// member sets nothing, it only removes.
pub(super) fn retain_keys(original: &mut Members, patch: &mut Members) -> Done {
    let Some(keep) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keep = keep.as_array().ok_or(StrategicError::RetainKeys)?;
    let kept = |key: &str| keep.iter().any(|k| k == key);
    let sets = |key: &str, value: &Value| {
        !(value.is_null() || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER))
    };
    if patch.iter().any(|(k, v)| sets(k, v) && !kept(k)) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|k, _| kept(k));
    Ok(())
}

/// A value without its null members.
pub(super) fn discard_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k, discard_nulls(v))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(discard_nulls).collect()),
        other => other,
    }
}

/// A value without the objects that have a `$patch` directive: there is nothing yet that they could change. `None` if
/// the value is such an object. Other directives stay, and are unknown fields when the result is decoded.
pub(super) fn remove_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(members) if members.contains_key(PATCH) => return None,
        Value::Object(members) => {
            let kept = members.into_iter().filter_map(|(k, v)| Some((k, remove_directives(v)?)));
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().filter_map(remove_directives).collect()),
        other => other,
    })
}
