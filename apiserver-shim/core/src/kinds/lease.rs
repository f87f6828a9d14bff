//! Leases, used for leader election. Updates must have a resourceVersion.

use super::{CreateContext, Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct Lease;

/// Drops the fields of coordinated leader election, as upstream with the feature `CoordinatedLeaderElection` off.
fn drop_disabled_fields(lease: &mut Value) {
    for member in ["strategy", "preferredHolder"] {
        access::remove(lease, &["spec", member]);
    }
}

impl Strategy for Lease {
    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        drop_disabled_fields(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        drop_disabled_fields(new);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(duration) = access::int(object, &["spec", "leaseDurationSeconds"]).filter(|d| *d <= 0) {
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"));
        }
        if let Some(transitions) = access::int(object, &["spec", "leaseTransitions"]).filter(|t| *t < 0) {
            errors.push(FieldError::invalid(
                "spec.leaseTransitions",
                transitions,
                "must be greater than or equal to 0",
            ));
        }
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let holder = access::text(object, &["spec", "holderIdentity"]);
        vec![cells::name(object), holder.into(), cells::age(object, now)]
    }
}
