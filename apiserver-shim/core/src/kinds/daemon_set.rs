//! DaemonSets.

pub(super) mod validation;

use super::rules::{self, Rule};
use super::{CreateContext, Strategy, cells, pod_template, warnings, workload};
use serde_json::{Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct DaemonSet;

/// The annotation that has the generation of the template.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        let strategy = as_object(spec.entry("updateStrategy").or_insert_with(|| json!({})));
        set_if_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
            set_default(rolling, "maxUnavailable", 1);
            set_default(rolling, "maxSurge", 0);
        }
        set_default(spec, "revisionHistoryLimit", 10);
        pod_template::default_template(as_object(spec.entry("template").or_insert_with(|| json!({}))));
        // The annotation stands for a field of upstream's internal type, which every object has: it belongs to the writer.
        let generation = template_generation(object);
        set_template_generation(object, generation);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
        let status = access::object_mut(object, &["status"]);
        for count in ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"]
        {
            status.insert(count.into(), 0.into());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
        let template = |set: &Value| access::get(set, &["spec", "template"]).cloned();
        let changed = template(new) != template(old);
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        warnings::template_warnings(new, old, "spec.template", &mut out);
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::change(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = rules::validate(&[Rule::Within("status", validation::STATUS)], new);
        errors.extend(workload::decremented(new, old));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let status = |key: &str| Value::from(workload::number(object, &["status", key]));
        let selector = cells::labels(access::get(object, &["spec", "template", "spec", "nodeSelector"]));
        let [names, images, wide_selector] = workload::wide_cells(object);
        vec![
            cells::name(object),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            selector.into(),
            cells::age(object, now),
            names,
            images,
            wide_selector,
        ]
    }
}

fn template_generation(set: &Value) -> i64 {
    let text = access::text(set, &["metadata", "annotations", TEMPLATE_GENERATION]);
    text.parse().unwrap_or(0)
}

fn set_template_generation(set: &mut Value, generation: i64) {
    let annotations = access::object_mut(set, &["metadata", "annotations"]);
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}
