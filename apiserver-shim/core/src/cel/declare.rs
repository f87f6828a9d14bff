//! The types of expressions over values with an OpenAPI schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::types::{Field, Object, Type, escape, is_escapable};

/// The type of values of a schema; `None` if expressions cannot use them, because their type is not known. `is_resource` adds
/// `apiVersion`, `kind` and `metadata`.
pub fn declare(schema: &Value, is_resource: bool) -> Option<Type> {
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    if flag("x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or("");
    match schema.get("type").and_then(Value::as_str).unwrap_or("") {
        "array" => Some(Type::list(declare(schema.get("items")?, false)?)),
        "boolean" => Some(Type::Bool),
        "integer" => Some(Type::Int),
        "number" => Some(Type::Double),
        "string" => Some(match format {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        }),
        "object" => object(schema, is_resource || flag("x-kubernetes-embedded-resource")),
        _ => None,
    }
}

fn object(schema: &Value, is_resource: bool) -> Option<Type> {
    if let Some(further) = schema.get("additionalProperties").filter(|further| further.is_object()) {
        return Some(Type::map(Type::String, declare(further, false)?));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let preserve = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if properties.is_none() && preserve && !is_resource {
        return None;
    }
    let mut fields = BTreeMap::new();
    for (name, property) in properties.into_iter().flatten().filter(|(name, _)| is_escapable(name)) {
        if let Some(ty) = declare(property, false) {
            fields.insert(escape(name), Field { name: name.clone(), ty });
        }
    }
    if is_resource {
        let names = Type::object("ObjectMeta", &[("name", Type::String), ("generateName", Type::String)]);
        for (name, ty) in [("apiVersion", Type::String), ("kind", Type::String), ("metadata", names)] {
            fields.insert(name.to_owned(), Field { name: name.to_owned(), ty });
        }
    }
    Some(Type::Object(Arc::new(Object { name: "object".to_owned(), fields, open: false })))
}
