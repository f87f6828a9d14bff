//! ReplicationControllers.

use super::rules::{self, Check, Rule, Site};
use super::{CreateContext, FieldName, Strategy, cells, named, pod_template, warnings, workload};
use serde_json::Value;
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct ReplicationController;

/// The rules of a spec.
pub(super) const SPEC: &[Rule] = &[
    Rule::Field("minReadySeconds", &[Check::NonNegative]),
    Rule::Field("selector", &[Check::Required]),
    Rule::Field("replicas", &[Check::NonNegative]),
    Rule::Code(template),
];

/// The rules of a status.
pub(super) const STATUS: &[Rule] = &[
    Rule::Field("replicas", &[Check::NonNegative]),
    Rule::Field("fullyLabeledReplicas", &[Check::NonNegative]),
    Rule::Field("readyReplicas", &[Check::NonNegative]),
    Rule::Field("availableReplicas", &[Check::NonNegative]),
    Rule::Field("observedGeneration", &[Check::NonNegative]),
    Rule::Code(counts),
];

fn counts(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let count = |name: &str| status.at(name).int().unwrap_or(0);
    for part in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        if count(part) > count("replicas") {
            errors.push(status.at(part).invalid("cannot be greater than status.replicas"));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.push(status.at("availableReplicas").invalid("cannot be greater than readyReplicas"));
    }
}

fn template(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (template, selector) = (spec.at("template"), spec.at("selector"));
    if !template.is_set() {
        return errors.push(template.required(""));
    }
    let labels = access::get(template.value, &["metadata", "labels"]);
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    if selector.entries().any(|(key, value)| label(key) != Some(value.text())) {
        let why = "`selector` does not match template `labels`";
        let shown = labels.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{template}.metadata.labels"), shown, why));
    }
    errors.extend(pod_template::validate_template(template.value, format_args!("{template}")));
    let pod = template.at("spec");
    if pod.at("restartPolicy").text() != "Always" {
        errors.push(pod.at("restartPolicy").not_supported(&["Always"]));
    }
    if pod.at("activeDeadlineSeconds").is_set() {
        let why = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.push(pod.at("activeDeadlineSeconds").forbidden(why));
    }
}

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = access::get(object, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|l| !access::is_zero(l)) {
            set_if_zero(access::object_mut(object, &["spec"]), "selector", labels.clone());
            set_if_zero(access::object_mut(object, &["metadata"]), "labels", labels);
        }
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "replicas", 1);
        if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
            pod_template::default_template(as_object(template));
        }
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
        access::object_mut(object, &["status"]).insert("replicas".into(), 0.into());
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        match old {
            // As upstream, an update is warned about the template that it replaces.
            Some(before) if warnings::is_new_generation(new, before) => {
                let mut out = Vec::new();
                warnings::template_warnings(before, None, "spec.template", &mut out);
                out
            }
            Some(_) => Vec::new(),
            None => warnings::workload(new, None, "spec.template"),
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", SPEC)], object)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", STATUS)], new)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let count = |path: &[&str]| Value::from(workload::number(object, path));
        let (names, images) = cells::containers(access::get(object, &["spec", "template", "spec"]));
        vec![
            cells::name(object),
            count(&["spec", "replicas"]),
            count(&["status", "replicas"]),
            count(&["status", "readyReplicas"]),
            cells::age(object, now),
            names.into(),
            images.into(),
            cells::labels(access::get(object, &["spec", "selector"])).into(),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let replicas = workload::number(object, &["status", "replicas"]).to_string();
        named([("status.replicas", replicas)])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["status.replicas"]
    }
}
