//! Sets defaults, and removes nulls where they mean nothing.

use serde_json::Value;

use super::props::Props;

/// Removes nulls of members that are not nullable and have no default. Those with a default get it later.
pub(super) fn drop_nulls(schema: &Props, value: &mut Value) {
    drop(Some(schema), value);
}

fn drop(schema: Option<&Props>, value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, value| {
            let schema = schema.and_then(|s| s.child(name));
            if value.is_null() && schema.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            drop(schema, value);
            true
        }),
        Value::Array(items) => {
            let schema = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| drop(schema, item));
        }
        _ => {}
    }
}

/// Sets the defaults of absent members, and of nulls that are not nullable.
pub(super) fn default(schema: &Props, value: &mut Value) {
    let unwanted = |value: &Value, schema: &Props| value.is_null() && !schema.nullable;
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                let Some(value) = &property.default else { continue };
                if members.get(name).is_none_or(|found| unwanted(found, property)) {
                    members.insert(name.clone(), value.clone());
                }
            }
            for (name, value) in members.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    default(property, value);
                } else if let Some(further) = schema.further() {
                    if unwanted(value, further) {
                        *value = further.default.clone().unwrap_or_default();
                    }
                    default(further, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                if unwanted(item, schema) {
                    *item = schema.default.clone().unwrap_or_default();
                }
                default(schema, item);
            }
        }
        _ => {}
    }
}
