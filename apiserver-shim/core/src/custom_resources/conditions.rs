//! The conditions of a definition.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::status;

use super::approval::{self, Approval};
use crate::structural_schema;

/// A condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

const fn terminating(
    status: &'static str,
    reason: &'static str,
    message: &'static str,
) -> Condition<'static> {
    Condition { kind: "Terminating", status, reason, message }
}

impl Condition<'static> {
    /// The definition was just deleted.
    pub const DELETION_PENDING: Self = terminating(
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    );
    /// Its objects are being deleted.
    pub const DELETION_IN_PROGRESS: Self =
        terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    /// It had no objects, because it was never served.
    pub const NEVER_ESTABLISHED: Self =
        terminating("False", "NeverEstablished", "resource was never established");
    /// All its objects are gone.
    pub const DELETION_COMPLETED: Self =
        terminating("False", "InstanceDeletionCompleted", "removed all instances");
    /// It is served.
    pub const ESTABLISHED: Self = Condition {
        kind: "Established",
        status: "True",
        reason: "InitialNamesAccepted",
        message: "the initial names have been accepted",
    };
    /// It is not served, because its names are taken.
    pub const NOT_ACCEPTED: Self = Condition {
        kind: "Established",
        status: "False",
        reason: "NotAccepted",
        message: "not all names are accepted",
    };
}

/// The condition of this type.
pub fn find<'a>(crd: &'a Value, kind: &str) -> Option<&'a Value> {
    access::list(crd, &["status", "conditions"]).iter().find(|c| access::text(c, &["type"]) == kind)
}

/// Whether the condition of this type is true.
pub fn is_true(crd: &Value, kind: &str) -> bool {
    find(crd, kind).is_some_and(|condition| access::text(condition, &["status"]) == "True")
}

/// Sets a condition at `time`, which is kept as the time of the last transition if the status is another than before.
pub fn set(crd: &mut Value, new: &Condition<'_>, time: &str) {
    let since = find(crd, new.kind)
        .filter(|old| access::text(old, &["status"]) == new.status)
        .map(|old| access::text(old, &["lastTransitionTime"]))
        .filter(|since| !since.is_empty());
    let fresh = json!({
        "type": new.kind, "status": new.status, "reason": new.reason, "message": new.message,
        "lastTransitionTime": since.unwrap_or(time),
    });
    let list = access::object_mut(crd, &["status"]).entry("conditions").or_insert(Value::Null);
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|c| access::text(c, &["type"]) == new.kind) {
        Some(old) => *old = fresh,
        None => list.push(fresh),
    }
}

fn remove(crd: &mut Value, kind: &str) {
    if let Some(list) = access::list_mut(crd, &["status", "conditions"]) {
        list.retain(|condition| access::text(condition, &["type"]) != kind);
    }
}

/// Sets the condition about the approval of a protected group.
pub fn set_approval(crd: &mut Value, time: &str) {
    if !approval::is_protected(access::text(crd, &["spec", "group"])) {
        return;
    }
    let (state, message) = approval::state(crd);
    let (status, reason) = match state {
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
    };
    let kind = "KubernetesAPIApprovalPolicyConformant";
    set(crd, &Condition { kind, status, reason, message: &message }, time);
}

/// Sets the condition about schemas that are not structural, or removes it.
pub fn set_non_structural(crd: &mut Value, time: &str) {
    const KIND: &str = "NonStructuralSchema";
    let mut errors = Vec::new();
    if access::flag(crd, &["spec", "preserveUnknownFields"]) {
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, "must be false"));
    }
    for (i, version) in access::list(crd, &["spec", "versions"]).iter().enumerate() {
        if let Some(schema) = access::get(version, &["schema", "openAPIV3Schema"]) {
            let at = format!("spec.versions[{i}].schema.openAPIV3Schema");
            errors.extend(structural_schema::structural_violations(schema, &at));
        }
    }
    if errors.is_empty() {
        return remove(crd, KIND);
    }
    let message = status::aggregate(&errors);
    set(crd, &Condition { kind: KIND, status: "True", reason: "Violations", message: &message }, time);
}
