//! RuntimeClasses.

use super::pod::dump;
use super::rules::{self, Check, Rule, Site};
use super::{Strategy, cells, metadata, pod_template, warnings};
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
    let fixed = overhead.at("podFixed");
    pod_template::validate_overhead(fixed.value, format_args!("{overhead}"), errors);
}

fn scheduling(scheduling: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (selector, tolerations) = (scheduling.at("nodeSelector"), scheduling.at("tolerations"));
    metadata::labels(Some(selector.value), format_args!("{selector}"), errors);
    let list = tolerations.value.as_array().map_or(&[][..], Vec::as_slice);
    pod_template::validate_tolerations(list, format_args!("{tolerations}"), errors);
    for (at, toleration) in tolerations.items().enumerate() {
        if list[..at].contains(toleration.value) {
            let mut error = toleration.duplicate();
            error.shown = dump::compact("Toleration", toleration.value);
            errors.push(error);
        }
    }
}

impl Strategy for RuntimeClass {
    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let selected = access::entries(new, &["scheduling", "nodeSelector"]);
        let deprecated = selected.filter_map(|(label, _)| warnings::deprecated_label(label));
        deprecated.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
    }

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
