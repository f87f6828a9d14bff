//! Validation and columns that Deployments and ReplicaSets share.

use super::pod_template::validate_template;
use super::rules::Site;
use super::{Strategy, cells, metadata, selector_requirements};
use serde_json::Value;
use shim_model::access;
use shim_model::field::{At, FieldError};
use shim_model::object::string_map;
use shim_model::selector::LabelSelector;
use shim_model::time::Instant;

pub(super) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if access::int(object, &["revision"]).unwrap_or(0) < 0 {
            errors.push(non_negative("revision", &object["revision"]));
        }
        match object.get("data") {
            None | Some(Value::Null) => errors.push(FieldError::required("data", "data is mandatory")),
            Some(Value::Object(_)) => {}
            Some(_) => errors.push(FieldError::required("data", "data must be a valid JSON object")),
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let negative = access::int(new, &["revision"]).unwrap_or(0) < 0;
        let mut errors = Vec::from_iter(negative.then(|| non_negative("revision", &new["revision"])));
        if new.get("data") != old.get("data") {
            errors.push(FieldError::invalid("data", new["data"].clone(), "field is immutable"));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let owners = access::list(object, &["metadata", "ownerReferences"]);
        let controller =
            owners.iter().find(|o| access::flag(o, &["controller"])).map_or("<none>".to_owned(), |o| {
                let (group, _) = shim_model::resource::split_api_version(access::text(o, &["apiVersion"]));
                let kind = access::text(o, &["kind"]).to_lowercase();
                let dot = if group.is_empty() { "" } else { "." };
                format!("{kind}{dot}{group}/{}", access::text(o, &["name"]))
            });
        let revision = access::int(object, &["revision"]).unwrap_or(0);
        vec![cells::name(object), controller.into(), revision.into(), cells::age(object, now)]
    }
}

pub(super) fn non_negative(field: &str, value: &Value) -> FieldError {
    FieldError::invalid(field, value.clone(), "must be greater than or equal to 0")
}

/// The error of a status whose count of collisions of names goes down or is gone.
pub(super) fn decremented(new: &Value, old: &Value) -> Option<FieldError> {
    const COUNT: [&str; 2] = ["status", "collisionCount"];
    let (now, before) = (access::int(new, &COUNT), access::int(old, &COUNT)?);
    let is_less = now.is_none_or(|now| now < before);
    is_less.then(|| FieldError::invalid("status.collisionCount", now.unwrap_or(0), "cannot be decremented"))
}

/// Validates that these numbers of the spec are not negative.
pub(super) fn validate_non_negative(spec: &Value, keys: &[&str]) -> Vec<FieldError> {
    let negative = keys.iter().filter(|k| access::int(spec, &[k]).unwrap_or(0) < 0);
    negative.map(|k| non_negative(&format!("spec.{k}"), &spec[*k])).collect()
}

/// Validates a workload's selector and its template, which must match. `noun` names the kind in messages.
pub(super) fn validate_selector(spec: &Value, noun: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = spec.get("selector").filter(|s| !s.is_null());
    match selector {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(s) => {
            errors.extend(label_selector(s, format_args!("spec.selector")));
            if ["matchLabels", "matchExpressions"].iter().all(|k| s.get(*k).is_none_or(access::is_zero)) {
                errors.push(FieldError::invalid(
                    "spec.selector",
                    s.clone(),
                    format!("empty selector is invalid for {noun}"),
                ));
            }
        }
    }
    let labels = access::get(spec, &["template", "metadata", "labels"]);
    match selector.map(LabelSelector::from_value) {
        Some(Err(_)) => {
            // What it would match is not known: upstream does not look at the template.
            let shown = spec["selector"].clone();
            errors.push(FieldError::invalid("spec.selector", shown, "invalid label selector"));
            return errors;
        }
        Some(Ok(s)) if s.is_everything() => {}
        Some(Ok(s)) if s.matches(&labels.map(string_map).unwrap_or_default()) => {}
        _ => {
            let detail = "`selector` does not match template `labels`";
            let shown = labels.cloned().unwrap_or(Value::Null);
            errors.push(FieldError::invalid("spec.template.metadata.labels", shown, detail));
        }
    }
    errors.extend(validate_always(spec));
    errors
}

/// Validates a `metav1.LabelSelector`.
pub(super) fn label_selector(selector: &Value, field: At<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    metadata::labels(selector.get("matchLabels"), format_args!("{field}.matchLabels"), &mut errors);
    for (i, requirement) in access::list(selector, &["matchExpressions"]).iter().enumerate() {
        let at = format_args!("{field}.matchExpressions[{i}]");
        selector_requirements::validate(requirement, at, false, &mut errors);
    }
    errors
}

/// Validates the template of a workload whose Pods must have restart policy Always.
fn validate_always(spec: &Value) -> Vec<FieldError> {
    let Some(template) = spec.get("template") else {
        return vec![FieldError::required("spec.template", "")];
    };
    let mut errors = validate_template(template, format_args!("spec.template"));
    let policy = access::text(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if access::get(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", detail));
    }
    errors
}

/// Cells: name, counts, age and, for wide output, containers, images and selector.
pub(super) fn wide_cells(object: &Value) -> [Value; 3] {
    let (names, images) = cells::containers(access::get(object, &["spec", "template", "spec"]));
    [names.into(), images.into(), cells::selector(access::get(object, &["spec", "selector"])).into()]
}

/// A number of the object; 0 if absent.
pub(super) fn number(object: &Value, path: &[&str]) -> i64 {
    access::int(object, path).unwrap_or(0)
}

/// Whether a number or percentage is 0; a text that is no percentage counts as its number.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse::<i64>().unwrap_or(0) == 0,
        _ => true,
    }
}

/// Validates a number or percentage.
pub(super) fn count_or_percent(value: &Value, field: &str) -> Vec<FieldError> {
    match value {
        Value::Number(n) if n.as_i64().unwrap_or(0) < 0 => vec![non_negative(field, value)],
        Value::String(text) => {
            let digits =
                text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            if digits.is_some() {
                return Vec::new();
            }
            let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            vec![FieldError::invalid(field, value.clone(), detail)]
        }
        _ => Vec::new(),
    }
}

/// The error of more than 100 %.
pub(super) fn at_most_everything(amount: &Site<'_>) -> Option<FieldError> {
    let percent = amount.text().strip_suffix('%').and_then(|text| text.parse::<i64>().ok());
    percent.is_some_and(|percent| percent > 100).then(|| amount.invalid("must not be greater than 100%"))
}
