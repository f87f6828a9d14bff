//! RuntimeClasses.

use super::pod::dump;
use super::rules::{self, Check, Rule, Site};
use super::{Strategy, cells, metadata, pod_template};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct RuntimeClass;

/// The rules of a class.
pub(super) const CLASS: &[Rule] = &[
    Rule::Field("handler", &[Check::Required, Check::Format(shim_model::names::dns_label)]),
    Rule::Within("overhead", &[Rule::Code(overhead)]),
    Rule::Within("scheduling", &[Rule::Code(scheduling)]),
];

fn overhead(overhead: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (_, amount) in overhead.at("podFixed").entries() {
        if amount.text().starts_with('-') {
            errors.push(amount.invalid("must be greater than or equal to 0"));
        }
    }
}

fn scheduling(scheduling: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (selector, tolerations) = (scheduling.at("nodeSelector"), scheduling.at("tolerations"));
    metadata::labels(Some(selector.value), format_args!("{selector}"), errors);
    let list = tolerations.value.as_array().map_or(&[][..], Vec::as_slice);
    pod_template::validate_tolerations(list, format_args!("{tolerations}"), errors);
    let mut seen: Vec<&Value> = Vec::new();
    for toleration in tolerations.items() {
        if seen.contains(&toleration.value) {
            let mut error = toleration.duplicate();
            error.shown = dump::compact("Toleration", toleration.value);
            errors.push(error);
        }
        seen.push(list.get(seen.len()).unwrap_or(&Value::Null));
    }
}

impl Strategy for RuntimeClass {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(CLASS, object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        errors.extend(rules::immutable(new, old, &["handler"]));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), access::text(object, &["handler"]).into(), cells::age(object, now)]
    }
}
