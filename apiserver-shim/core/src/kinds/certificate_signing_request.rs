//! CertificateSigningRequests.

pub(super) mod validation;

pub(super) use validation::signer_name;

use super::{FieldName, Strategy, SubresourceStrategy, cells, named};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::time::{Instant, human_duration};

pub(super) struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn has_status(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
    }

    fn subresource(&self, name: &str) -> Option<&dyn SubresourceStrategy> {
        (name == "approval").then_some(&Approval)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validation::validate(new);
        errors.extend(validation::change(new, old, false));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validation::status(new);
        errors.extend(validation::change(new, old, false));
        errors
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        named([("spec.signerName", access::text(object, &["spec", "signerName"]).to_owned())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["spec.signerName"]
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let lifetime = access::int(object, &["spec", "expirationSeconds"]);
        vec![
            cells::name(object),
            cells::age(object, now),
            cells::or(access::text(object, &["spec", "signerName"]), "<none>").into(),
            access::text(object, &["spec", "username"]).into(),
            lifetime.map_or_else(|| "<none>".to_owned(), human_duration).into(),
            state(object).into(),
        ]
    }
}

fn has_condition(object: &Value, kind: &str) -> bool {
    access::list(object, &["status", "conditions"]).iter().any(|c| access::text(c, &["type"]) == kind)
}

fn state(object: &Value) -> String {
    let mut states = Vec::new();
    if has_condition(object, "Denied") {
        states.push("Denied");
    } else if has_condition(object, "Approved") {
        states.push("Approved");
    } else {
        states.push("Pending");
    }
    if has_condition(object, "Failed") {
        states.push("Failed");
    }
    if !access::text(object, &["status", "certificate"]).is_empty() {
        states.push("Issued");
    }
    states.join(",")
}

/// `/approval` changes the conditions only.
struct Approval;

impl SubresourceStrategy for Approval {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        access::copy(old, new, &["status", "certificate"]);
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validation::status(new);
        errors.extend(validation::change(new, old, true));
        errors
    }
}
