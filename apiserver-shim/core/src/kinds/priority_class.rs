//! PriorityClasses; value and preemption policy are immutable.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

/// The classes that every cluster has.
const SYSTEM: [&str; 2] = ["system-cluster-critical", "system-node-critical"];
/// Highest value of classes without the prefix `system-`.
const USER_VALUE_MAX: i64 = 1_000_000_000;

pub(super) struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        let object = access::as_object(object);
        access::set_default(object, "preemptionPolicy", "PreemptLowerPriority");
        access::set_default(object, "value", 0);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, _new: &Value, _old: &Value) -> bool {
        false
    }

    fn deletion_refusal(&self, name: &str) -> Option<&'static str> {
        SYSTEM.contains(&name).then_some("this is a system priority class and cannot be deleted")
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let (name, value) =
            (access::text(object, &["metadata", "name"]), access::int(object, &["value"]).unwrap_or(0));
        let system = SYSTEM.contains(&name);
        let mut errors = Vec::new();
        if name.starts_with("system-") && !system {
            let why = "priority class names with 'system-' prefix are reserved for system use only. error:";
            let why = format!("{why} {name} is not a known system priority class");
            errors.push(FieldError::forbidden("metadata.name", why));
        } else if value > USER_VALUE_MAX && !system {
            let detail = format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
            errors.push(FieldError::forbidden("value", detail));
        }
        let policy = access::text(object, &["preemptionPolicy"]);
        const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
        match policy {
            "" => errors.push(FieldError::required("preemptionPolicy", "")),
            policy if POLICIES.contains(&policy) => {}
            _ => errors.push(FieldError::not_supported("preemptionPolicy", policy, POLICIES)),
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.get("value") != old.get("value") {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        if new.get("preemptionPolicy") != old.get("preemptionPolicy") {
            errors.push(FieldError::invalid(
                "preemptionPolicy",
                new["preemptionPolicy"].clone(),
                "field is immutable",
            ));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let global = access::flag(object, &["globalDefault"]);
        vec![
            cells::name(object),
            object["value"].clone(),
            global.into(),
            cells::age(object, now),
            object["preemptionPolicy"].clone(),
        ]
    }
}
