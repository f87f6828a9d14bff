//! The request that policies and webhooks see, as upstream's AdmissionReview has it.

use serde_json::{Value, json};

/// Group, version, and kind or plural name.
pub type Versioned<'a> = (&'a str, &'a str, &'a str);

/// What is known of a request besides its objects.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct RequestFacts<'a> {
    /// The kind of the objects in the version that the rules match.
    pub kind: Versioned<'a>,
    /// The resource in the version that the rules match.
    pub resource: Versioned<'a>,
    /// The kind of the request.
    pub request_kind: Versioned<'a>,
    /// The resource of the request.
    pub request_resource: Versioned<'a>,
    pub subresource: &'a str,
    /// Empty if the server generates it.
    pub name: &'a str,
    /// For a Namespace, its name.
    pub namespace: &'a str,
    pub operation: &'a str,
    pub user: &'a Value,
    pub dry_run: bool,
    /// `CreateOptions` and the like; null for connections.
    pub options: &'a Value,
}

/// The request without its objects.
pub fn request(facts: &RequestFacts<'_>) -> Value {
    let named = |(group, version, name): Versioned<'_>, member: &str| json!({"group": group, "version": version, member: name});
    let mut request = json!({
        "kind": named(facts.kind, "kind"),
        "resource": named(facts.resource, "resource"),
        "requestKind": named(facts.request_kind, "kind"),
        "requestResource": named(facts.request_resource, "resource"),
        "operation": facts.operation,
        "userInfo": facts.user,
        "dryRun": facts.dry_run,
        "options": facts.options,
    });
    for (member, value) in [
        ("subResource", facts.subresource),
        ("requestSubResource", facts.subresource),
        ("name", facts.name),
        ("namespace", facts.namespace),
    ] {
        if !value.is_empty() {
            request[member] = value.into();
        }
    }
    request
}
