//! ReplicaSets.

use super::workload::{number, validate_non_negative, validate_selector, wide_cells};
use super::{Strategy, cells, pod_template, warnings};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        access::set_default(spec, "replicas", 1);
        let template = access::as_object(spec.entry("template").or_insert_with(|| json!({})));
        pod_template::default_template(template);
        access::set_default(access::object_mut(object, &["status"]), "replicas", 0);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
        access::object_mut(object, &["status"]).insert("replicas".into(), 0.into());
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = validate_non_negative(spec, &["replicas", "minReadySeconds"]);
        errors.extend(validate_selector(spec, "deployment"));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if new["spec"].get("selector") != old["spec"].get("selector") {
            errors.push(FieldError::invalid(
                "spec.selector",
                new["spec"]["selector"].clone(),
                "field is immutable",
            ));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let status = &new["status"];
        let counts =
            ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
        let mut errors: Vec<FieldError> = counts
            .iter()
            .filter(|k| number(status, &[k]) < 0)
            .map(|k| super::workload::non_negative(&format!("status.{k}"), &status[*k]))
            .collect();
        let most = number(status, &["replicas"]);
        for key in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
            if number(status, &[key]) > most {
                let detail = "cannot be greater than status.replicas";
                errors.push(FieldError::invalid(format!("status.{key}"), number(status, &[key]), detail));
            }
        }
        let available = number(status, &["availableReplicas"]);
        if available > number(status, &["readyReplicas"]) {
            let detail = "cannot be greater than readyReplicas";
            errors.push(FieldError::invalid("status.availableReplicas", available, detail));
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::workload(new, old, "spec.template")
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let [names, images, selector] = wide_cells(object);
        vec![
            cells::name(object),
            number(object, &["spec", "replicas"]).into(),
            number(object, &["status", "replicas"]).into(),
            number(object, &["status", "readyReplicas"]).into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ]
    }
}
