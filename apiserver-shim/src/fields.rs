//! The fields that field selectors may ask for, read out of an object when it enters the cache. Which fields a kind has
//! is the kind's own; here they meet the cache, which keeps the storage group's face of an object.

use serde_json::Value;
use shim_core::kinds;
use shim_model::resource::Resource;

/// The fields of a decoded object, beside name and namespace.
pub fn of_value(resource: &Resource, value: &Value) -> Vec<(&'static str, String)> {
    kinds::of(resource).selectable(value)
}

/// The fields of an encoded object.
pub fn of_bytes(resource: &Resource, bytes: &[u8]) -> Vec<(&'static str, String)> {
    if kinds::of(resource).selectable_fields().is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(bytes).map(|value| of_value(resource, &value)).unwrap_or_default()
}

/// The name under which the cache knows a field: `events.k8s.io` has other names for the stored Events' fields.
pub fn stored_name(resource: &Resource, name: &str) -> String {
    match (resource.group, name) {
        ("events.k8s.io", "reportingController") => "reportingComponent".to_owned(),
        ("events.k8s.io", name) => match name.strip_prefix("regarding.") {
            Some(rest) => format!("involvedObject.{rest}"),
            None => name.to_owned(),
        },
        (_, name) => name.to_owned(),
    }
}
