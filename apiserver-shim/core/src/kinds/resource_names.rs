//! Names of resources that quotas and limits may have.

use shim_model::field::FieldError;
use shim_model::names;

use crate::resource_list::is_extended;

/// Amounts of these are whole numbers.
const INTEGERS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const COMPUTE: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// Whether quotas know a name without a domain.
pub(super) fn is_standard_for_quota(name: &str) -> bool {
    let huge_pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    COMPUTE.contains(&name) || INTEGERS.contains(&name) || huge_pages
}

/// Whether a name without a domain is known.
pub(super) fn is_standard(name: &str) -> bool {
    name == "storage" || is_standard_for_quota(name)
}

/// Whether amounts of a resource are whole numbers.
pub(super) fn is_integer(name: &str) -> bool {
    INTEGERS.contains(&name) || is_extended(name)
}

/// Validates any resource name.
pub(super) fn validate(name: &str, at: &str) -> Vec<FieldError> {
    let wrong = names::qualified(name);
    if !wrong.is_empty() {
        return wrong.into_iter().map(|why| FieldError::invalid(at, name, why)).collect();
    }
    if !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        return vec![FieldError::invalid(at, name, why)];
    }
    Vec::new()
}

/// Validates the name of a resource that containers may request.
pub(super) fn validate_of_containers(name: &str, at: &str) -> Vec<FieldError> {
    let mut errors = validate(name, at);
    let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') {
        if !standard {
            errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
        }
    } else if !crate::resource_list::is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(at, name, "doesn't follow extended resource name standard"));
    }
    errors
}
