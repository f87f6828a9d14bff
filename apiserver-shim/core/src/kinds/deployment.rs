//! Deployments.

use super::pod::dump;
use super::workload::{number, validate_non_negative, validate_selector, wide_cells};
use super::{Strategy, cells, pod_template, warnings};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        access::set_default(spec, "replicas", 1);
        access::set_default(spec, "revisionHistoryLimit", 10);
        access::set_default(spec, "progressDeadlineSeconds", 600);
        let strategy = access::as_object(spec.entry("strategy").or_insert_with(|| json!({})));
        access::set_if_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = access::as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
            access::set_default(rolling, "maxUnavailable", "25%");
            access::set_default(rolling, "maxSurge", "25%");
        }
        pod_template::default_template(access::as_object(
            spec.entry("template").or_insert_with(|| json!({})),
        ));
        access::object_mut(object, &["status"]);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        let annotations =
            |o: &Value| access::get(o, &["metadata", "annotations"]).filter(|a| !access::is_zero(a)).cloned();
        new.get("spec") != old.get("spec") || annotations(new) != annotations(old)
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        pod_template::drop_disabled_fields(object, &["spec", "template", "spec"]);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        pod_template::drop_disabled_fields(new, &["spec", "template", "spec"]);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        access::copy(old, new, &["metadata", "labels"]);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = validate_non_negative(spec, &["replicas"]);
        errors.extend(validate_selector(spec, "deployment"));
        errors.extend(strategy(&spec["strategy"]));
        errors.extend(validate_non_negative(spec, &["minReadySeconds", "revisionHistoryLimit"]));
        if let Some(deadline) = access::int(spec, &["progressDeadlineSeconds"]) {
            errors.extend(validate_non_negative(spec, &["progressDeadlineSeconds"]));
            if deadline <= number(spec, &["minReadySeconds"]) {
                errors.push(FieldError::invalid(
                    "spec.progressDeadlineSeconds",
                    deadline,
                    "must be greater than minReadySeconds",
                ));
            }
        }
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

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        const COUNTS: [&str; 8] = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        let status = &new["status"];
        let negative = COUNTS.iter().filter(|k| number(status, &[k]) < 0);
        let mut errors: Vec<FieldError> =
            negative.map(|k| super::workload::non_negative(&format!("status.{k}"), &status[*k])).collect();
        for (part, whole, shown) in [
            ("updatedReplicas", "replicas", "status.replicas"),
            ("readyReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "replicas", "status.replicas"),
            ("availableReplicas", "readyReplicas", "readyReplicas"),
        ] {
            if number(status, &[part]) > number(status, &[whole]) {
                let why = format!("cannot be greater than {shown}");
                errors.push(FieldError::invalid(format!("status.{part}"), number(status, &[part]), why));
            }
        }
        errors.extend(super::workload::decremented(new, old));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::workload(new, old, "spec.template")
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let status = |key: &str| number(object, &["status", key]);
        let ready = format!("{}/{}", status("readyReplicas"), number(object, &["spec", "replicas"]));
        let [names, images, selector] = wide_cells(object);
        vec![
            cells::name(object),
            ready.into(),
            status("updatedReplicas").into(),
            status("availableReplicas").into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ]
    }
}

fn strategy(strategy: &Value) -> Vec<FieldError> {
    const FIELD: &str = "spec.strategy";
    let rolling = strategy.get("rollingUpdate").filter(|r| !r.is_null());
    match access::text(strategy, &["type"]) {
        "Recreate" if rolling.is_some() => {
            vec![FieldError::forbidden(
                format!("{FIELD}.rollingUpdate"),
                "may not be specified when strategy `type` is 'Recreate'",
            )]
        }
        "Recreate" => Vec::new(),
        "RollingUpdate" => match rolling {
            None => vec![FieldError::required(
                format!("{FIELD}.rollingUpdate"),
                "this should be defaulted and never be nil",
            )],
            Some(rolling) => rolling_update(rolling),
        },
        other => {
            let error = FieldError::not_supported(FIELD, other, &["Recreate", "RollingUpdate"]);
            vec![FieldError { shown: dump::compact("DeploymentStrategy", strategy), ..error }]
        }
    }
}

fn rolling_update(rolling: &Value) -> Vec<FieldError> {
    const FIELD: &str = "spec.strategy.rollingUpdate";
    let mut errors = Vec::new();
    for key in ["maxUnavailable", "maxSurge"] {
        errors.extend(super::workload::count_or_percent(&rolling[key], &format!("{FIELD}.{key}")));
    }
    let zero = super::workload::is_nothing;
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let detail = "may not be 0 when `maxSurge` is 0";
        let shown = rolling["maxUnavailable"].clone();
        errors.push(FieldError::invalid(format!("{FIELD}.maxUnavailable"), shown, detail));
    }
    let percent = rolling["maxUnavailable"].as_str().and_then(|t| t.strip_suffix('%')?.parse::<i64>().ok());
    if percent.is_some_and(|p| p > 100) {
        errors.push(FieldError::invalid(
            format!("{FIELD}.maxUnavailable"),
            rolling["maxUnavailable"].clone(),
            "must not be greater than 100%",
        ));
    }
    errors
}
