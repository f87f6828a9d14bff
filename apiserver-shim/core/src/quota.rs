//! ResourceQuotas: what an object uses, which quotas count it, and whether a request may use more. Pure; the admission
//! plugin charges requests, and the controller counts what exists.
//!
//! These are the quotas of the Kubernetes API. The kernel's hierarchical quotas of roles are independent of them.

mod evaluator;
mod object;
mod pods;
mod request;
mod usage;

pub use evaluator::Evaluator;
pub use object::{Quota, ScopeSelector};
pub use pods::PodUsage;
pub use request::{Charge, Request, charge};
pub use usage::{UsedObjects, used};

/// Resources that quotas never count: they are not stored, or never were counted.
const IGNORED: &[(&str, &str)] = &[
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// The name under which a quota counts the objects of a resource, such as `count/deployments.apps`.
pub fn count_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        group => format!("count/{plural}.{group}"),
    }
}

/// The group and plural of a resource that `count/NAME` names.
pub fn counted_resource(name: &str) -> Option<(&str, &str)> {
    let resource = name.strip_prefix("count/")?;
    Some(resource.split_once('.').map_or(("", resource), |(plural, group)| (group, plural)))
}

#[cfg(test)]
mod tests;
