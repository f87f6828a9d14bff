//! Validation of requests and limits.

use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use shim_model::quantity::Quantity;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Whether a resource name is that of an extended resource.
pub(in super::super) fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.")
}

fn amount(value: Option<&Value>) -> Option<Quantity> {
    value?.as_str()?.parse().ok()
}

/// Validates a container's resources.
pub(super) fn validate(resources: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let Some(members) = resources.as_object() else { return };
    let limits = members.get("limits");
    for (name, value) in limits.and_then(Value::as_object).into_iter().flatten() {
        one(name, amount(Some(value)), format_args!("{at}.limits[{name}]"), errors);
    }
    let mut short_of_limits = false;
    for (name, value) in members.get("requests").and_then(Value::as_object).into_iter().flatten() {
        let request = amount(Some(value));
        one(name, request, format_args!("{at}.requests[{name}]"), errors);
        let overcommit = !(is_extended(name) || name.starts_with("hugepages-"));
        let limit = amount(limits.and_then(|limits| limits.get(name)));
        let Some(request) = request else { continue };
        match limit {
            Some(limit) if !overcommit && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(format!("{at}.requests"), request.to_string(), detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(format!("{at}.requests"), request.to_string(), detail));
            }
            None if !overcommit => short_of_limits = true,
            _ => {}
        }
    }
    let names = || {
        let lists = ["limits", "requests"].into_iter();
        lists.flat_map(|list| {
            members.get(list).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name)
        })
    };
    if names().any(|name| name.starts_with("hugepages-"))
        && !names().any(|name| name == "cpu" || name == "memory")
    {
        errors.push(FieldError::forbidden(at, "HugePages require cpu or memory"));
    }
    if short_of_limits {
        errors.push(FieldError::required(
            format!("{at}.limits"),
            "Limit must be set for non overcommitable resources",
        ));
    }
}

fn one(name: &str, amount: Option<Quantity>, at: At<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(names::qualified(name).into_iter().map(|d| FieldError::invalid(at, name, d)));
    if !name.contains('/') && !name.starts_with("hugepages-") && !STANDARD.contains(&name) {
        errors.push(FieldError::invalid(at, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
    }
    let Some(q) = amount else { return };
    if q.sign() < 0 {
        errors.push(FieldError::invalid(at, q.to_string(), "must be greater than or equal to 0"));
    }
    if is_extended(name) && !q.is_whole() {
        errors.push(FieldError::invalid(at, q.to_string(), "must be an integer"));
    }
}

/// Validates Pod-level resources.
pub(super) fn validate_pod_level(resources: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    for list in ["limits", "requests"] {
        for (name, _) in access::entries(resources, &[list]) {
            if !["cpu", "memory"].contains(&name) && !name.starts_with("hugepages-") {
                errors.push(FieldError::not_supported(
                    format!("{at}.{list}[{name}]"),
                    name,
                    &["cpu", "hugepages-", "memory"],
                ));
            }
        }
    }
    for (name, value) in access::entries(resources, &["requests"]) {
        let (request, limit) = (amount(Some(value)), amount(access::get(resources, &["limits", name])));
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(format!("{at}.requests"), request.to_string(), detail));
        }
    }
}

/// Validates a container's resize policy.
pub(super) fn validate_resize_policy(container: &Members<'_>, at: At<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (i, policy) in container.list("resizePolicy").iter().enumerate() {
        let (resource, restart) =
            (access::text(policy, &["resourceName"]), access::text(policy, &["restartPolicy"]));
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(format!("{at}.resizePolicy[{i}]"), resource));
        }
        seen.push(resource);
        if !["cpu", "memory"].contains(&resource) {
            errors.push(FieldError::not_supported(
                format!("{at}.resizePolicy"),
                resource,
                &["cpu", "memory"],
            ));
        }
        if !["NotRequired", "RestartContainer"].contains(&restart) {
            errors.push(FieldError::not_supported(
                format!("{at}.resizePolicy"),
                restart,
                &["NotRequired", "RestartContainer"],
            ));
        }
    }
}
