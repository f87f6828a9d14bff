//! What happens to the metadata of an object before and after the mutating admission plugins.

use std::collections::HashSet;

use serde_json::Value;
use shim_model::access;
use shim_model::managed_fields;
use shim_model::resource::Resource;
use shim_model::status::Status;

use super::metadata;

const OWNERS: [&str; 2] = ["metadata", "ownerReferences"];

/// Removes from a new object what only the server sets, and sets an omitted namespace.
pub fn begin_admission(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), Status> {
    for member in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
    {
        access::remove(object, &["metadata", member]);
    }
    metadata::check_namespace(resource, if resource.namespaced { namespace } else { "" }, object)
}

/// Removes owner references that occur twice; returns the warning about them.
pub fn deduplicate_owners(object: &mut Value, after_admission: bool) -> Option<String> {
    let all = access::list(object, &OWNERS);
    if all.len() < 2 {
        return None;
    }
    let mut kept: HashSet<&Value> = HashSet::with_capacity(all.len());
    let (first, again): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|owner| kept.insert(owner));
    if again.is_empty() {
        return None;
    }
    let twice: Vec<&str> = again.into_iter().map(|owner| access::text(owner, &["uid"])).collect();
    let when = if after_admission { " after mutating admission happens" } else { "" };
    let warning = format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    );
    let first: Vec<Value> = first.into_iter().cloned().collect();
    access::object_mut(object, &["metadata"]).insert("ownerReferences".into(), first.into());
    Some(warning)
}

/// Restores managed fields that admission has made invalid; returns the warning about them.
pub fn restore_managed_fields(object: &mut Value, before: Option<Value>) -> Option<String> {
    let why = managed_fields::check(access::list(object, &["metadata", "managedFields"])).err()?;
    let metadata = access::object_mut(object, &["metadata"]);
    match before {
        Some(before) => metadata.insert("managedFields".into(), before),
        None => metadata.remove("managedFields"),
    };
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ))
}

#[cfg(test)]
#[path = "around_admission/tests.rs"]
mod tests;
