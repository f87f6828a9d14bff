//! The approval that groups of the Kubernetes project need: an annotation with the URL of the pull request, or a reason
//! that starts with "unapproved".

use serde_json::Value;
use shim_model::access;

/// The annotation.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// It has a URL.
    Approved,
    /// It says that there is no approval.
    Bypassed,
    /// There is no annotation.
    Missing,
    /// It has another text.
    Invalid,
}

/// Whether a group belongs to the Kubernetes project.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// The annotation of a definition; empty if there is none.
pub fn annotation(crd: &Value) -> &str {
    access::text(crd, &["metadata", "annotations", ANNOTATION])
}

/// What a definition's annotation says, in words.
pub fn state(crd: &Value) -> (Approval, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let text = annotation(crd);
    if text.is_empty() {
        let why = format!("protected groups must have approval annotation \"{ANNOTATION}\", {SEE}");
        (Approval::Missing, why)
    } else if text.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {}", Value::from(text)))
    } else if is_url(text) {
        (Approval::Approved, format!("approved in {text}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or a reason starting with \"unapproved\", {SEE}"
        );
        (Approval::Invalid, why)
    }
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        !host.is_empty()
            && !text.contains(char::is_whitespace)
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}
