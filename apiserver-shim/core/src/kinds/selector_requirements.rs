//! The requirements of label selectors and node selectors: a key, an operator, and values.

use serde_json::Value;
use shim_model::access;
use shim_model::field::{At, FieldError};
use shim_model::names;

/// Validates a requirement. With `compares`, it may have the operators `Gt` and `Lt`, as those of nodes.
pub(super) fn validate(requirement: &Value, at: At<'_>, compares: bool, errors: &mut Vec<FieldError>) {
    let values = access::list(requirement, &["values"]);
    let of_values = || format!("{at}.values");
    match access::text(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(of_values(), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(of_values(), why));
        }
        "Gt" | "Lt" if compares && values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(of_values(), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if compares => {}
        other => {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{at}.operator"), other, why));
        }
    }
    let key = access::text(requirement, &["key"]);
    let wrong = names::qualified(key).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.key"), key, why)));
    for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let wrong = names::label_value(value).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.values[{j}]"), value, why)));
    }
}
