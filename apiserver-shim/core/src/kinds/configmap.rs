//! ConfigMaps: text and binary data, optionally immutable.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::field::{FieldError, index};
use shim_model::names;
use shim_model::time::Instant;

/// Maximum size of a ConfigMap's or Secret's data, in bytes.
pub(super) const DATA_MAX: usize = 1024 * 1024;

/// The path of an error about several members, as Go prints an empty path.
const NO_FIELD: &str = "[]";

pub(super) struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in access::entries(object, &["data"]) {
            let field = index("data", key);
            errors.extend(
                names::config_key(key).into_iter().map(|d| FieldError::invalid(field.clone(), key, d)),
            );
            if access::get(object, &["binaryData", key]).is_some() {
                errors.push(FieldError::invalid(field, key, "duplicate of key present in binaryData"));
            }
            size += value.as_str().map_or(0, str::len);
        }
        for (key, value) in access::entries(object, &["binaryData"]) {
            let field = index("binaryData", key);
            errors.extend(
                names::config_key(key).into_iter().map(|d| FieldError::invalid(field.clone(), key, d)),
            );
            size += value.as_str().map_or(0, |s| s.len() / 4 * 3);
        }
        if size > DATA_MAX {
            errors.push(FieldError::too_long(NO_FIELD, DATA_MAX));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = sealed(new, old, &["data", "binaryData"]);
        errors.extend(self.validate_create(new));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::count(object, &["data", "binaryData"]), cells::age(object, now)]
    }
}

/// Validates that an immutable object does not change.
pub(super) fn sealed(new: &Value, old: &Value, members: &[&str]) -> Vec<FieldError> {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !access::flag(old, &["immutable"]) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if !access::flag(new, &["immutable"]) {
        errors.push(FieldError::forbidden("immutable", DETAIL));
    }
    let changed = members.iter().filter(|m| new.get(**m) != old.get(**m));
    errors.extend(changed.map(|m| FieldError::forbidden(*m, DETAIL)));
    errors
}
