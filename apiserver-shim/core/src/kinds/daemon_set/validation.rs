//! Validation of DaemonSets.

use super::super::pod::dump;
use super::super::rules::{Check, Rule, Site, apply, immutable};
use super::super::{pod_template, workload};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::object::string_map;
use shim_model::selector::LabelSelector;

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Code(selector),
    Rule::Code(template),
    Rule::Field("minReadySeconds", &[Check::NonNegative]),
    Rule::Code(update_strategy),
    Rule::Field("revisionHistoryLimit", &[Check::NonNegative]),
];

fn selector(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let selector = spec.at("selector");
    if selector.is_set() {
        errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
    }
    let labels = access::get(spec.value, &["template", "metadata", "labels"]);
    let parsed = selector.is_set().then(|| LabelSelector::from_value(selector.value));
    let matches = match &parsed {
        None => false,
        Some(Ok(parsed)) => {
            parsed.is_everything() || parsed.matches(&labels.map(string_map).unwrap_or_default())
        }
        Some(Err(_)) => true,
    };
    if !matches {
        let why = "`selector` does not match template `labels`";
        let shown = labels.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{spec}.template.metadata.labels"), shown, why));
    }
    if selector.is_set() && selector.at("matchLabels").is_zero() && selector.at("matchExpressions").is_zero()
    {
        errors.push(selector.invalid("empty selector is invalid for daemonset"));
    }
}

fn template(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let template = spec.at("template");
    errors.extend(pod_template::validate_template(template.value, format_args!("{template}")));
    let pod = template.at("spec");
    let policy = pod.at("restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    if pod.at("activeDeadlineSeconds").is_set() {
        let why = "activeDeadlineSeconds in DaemonSet is not Supported";
        errors.push(pod.at("activeDeadlineSeconds").forbidden(why));
    }
}

fn update_strategy(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let strategy = spec.at("updateStrategy");
    let rolling = strategy.at("rollingUpdate");
    match strategy.at("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => errors.push(rolling.required("")),
        "RollingUpdate" => rolling_update(&rolling, errors),
        _ => {
            let mut error = strategy.not_supported(&["RollingUpdate", "OnDelete"]);
            error.shown = dump::compact("DaemonSetUpdateStrategy", strategy.value);
            errors.push(error);
        }
    }
}

fn rolling_update(rolling: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    for amount in [&unavailable, &surge] {
        errors.extend(workload::count_or_percent(amount.value, &amount.to_string()));
    }
    for amount in [&unavailable, &surge] {
        errors.extend(workload::at_most_everything(amount));
    }
    match (workload::is_nothing(unavailable.value), workload::is_nothing(surge.value)) {
        (true, true) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
        (false, false) => errors.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
        _ => {}
    }
}

/// Validates a DaemonSet.
pub(super) fn validate(set: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(SPEC, &Site::root(set).at("spec"), &mut errors);
    errors
}

/// Validates an update.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = immutable(new, old, &["spec.selector"]);
    errors.extend(validate(new));
    errors
}

/// The rules of a status.
pub(in super::super) const STATUS: &[Rule] = &[
    Rule::Field("currentNumberScheduled", &[Check::NonNegative]),
    Rule::Field("numberMisscheduled", &[Check::NonNegative]),
    Rule::Field("desiredNumberScheduled", &[Check::NonNegative]),
    Rule::Field("numberReady", &[Check::NonNegative]),
    Rule::Field("observedGeneration", &[Check::NonNegative]),
    Rule::Field("updatedNumberScheduled", &[Check::NonNegative]),
    Rule::Field("numberAvailable", &[Check::NonNegative]),
    Rule::Field("numberUnavailable", &[Check::NonNegative]),
    Rule::Field("collisionCount", &[Check::NonNegative]),
];
