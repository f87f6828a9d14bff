//! Validation of HorizontalPodAutoscalers, in version 2.

use super::super::rules::{Check, Rule, Site, apply};
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;

/// Longest period of a policy and longest stabilization window, in seconds.
const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;

const POLICY: &[Rule] = &[
    Rule::Field("type", &[Check::Code(policy_type)]),
    Rule::Field("value", &[Check::AtLeast(1, "must be greater than zero")]),
    Rule::Field(
        "periodSeconds",
        &[
            Check::AtLeast(1, "must be greater than zero"),
            Check::AtMost(PERIOD_MAX, "must be less than or equal to 1800"),
        ],
    ),
];

const SCALING_RULES: &[Rule] = &[
    Rule::Field(
        "stabilizationWindowSeconds",
        &[
            Check::AtLeast(0, "must be greater than or equal to zero"),
            Check::AtMost(WINDOW_MAX, "must be less than or equal to 3600"),
        ],
    ),
    Rule::Field("selectPolicy", &[Check::Enum(&["Disabled", "Max", "Min"])]),
    Rule::Field("policies", &[Check::RequiredBecause("must specify at least one Policy")]),
    Rule::Each("policies", POLICY),
    Rule::Field("tolerance", &[Check::Code(tolerance)]),
];

const REFERENCE: &[Rule] = &[
    Rule::Field("kind", &[Check::Required, Check::Format(names::path_segment)]),
    Rule::Field("name", &[Check::Required, Check::Format(names::path_segment)]),
];

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Code(replicas),
    Rule::Code(target_reference),
    Rule::Each("metrics", &[Rule::Code(metric)]),
    Rule::Code(scale_to_zero),
    Rule::Within(
        "behavior",
        &[Rule::Within("scaleUp", SCALING_RULES), Rule::Within("scaleDown", SCALING_RULES)],
    ),
];

/// The rules of a status.
pub(in super::super) const STATUS: &[Rule] = &[
    Rule::Field("currentReplicas", &[Check::NonNegative]),
    Rule::Field("desiredReplicas", &[Check::NonNegative]),
];

fn policy_type(kind: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !["Percent", "Pods"].contains(&kind.text()) {
        errors.push(kind.not_supported(&["Percent", "Pods"]));
    }
}

fn replicas(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (least, most) = (spec.at("minReplicas"), spec.at("maxReplicas"));
    if least.int().is_some_and(|least| least < 1) {
        errors.push(least.invalid("must be greater than or equal to 1"));
    }
    let number = most.int().unwrap_or(0);
    match number {
        0 => errors.push(most.required("must be set and greater than 0")),
        ..0 => errors.push(most.invalid("must be greater than or equal to 1")),
        _ => {}
    }
    if least.int().is_some_and(|least| number < least) {
        errors.push(FieldError::invalid(most, number, "must be greater than or equal to `minReplicas`"));
    }
}

fn scale_to_zero(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let metrics = spec.at("metrics");
    let counts_work = metrics.items().any(|metric| matches!(metric.at("type").text(), "Object" | "External"));
    if spec.at("minReplicas").int() == Some(0) && !counts_work {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(metrics.forbidden(why));
    }
}

fn tolerance(tolerance: &Site<'_>, errors: &mut Vec<FieldError>) {
    if tolerance.text().parse::<Quantity>().is_ok_and(|quantity| quantity.sign() < 0) {
        errors.push(tolerance.invalid("must be greater than or equal to 0"));
    }
}

/// Only ReplicationControllers have no API group.
fn target_reference(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let target = spec.at("scaleTargetRef");
    let group =
        if target.at("kind").text() == "ReplicationController" { Group::Any } else { Group::Required };
    reference(&target, group, errors);
}

/// Whether a reference needs an API group.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    Any,
    Required,
}

fn reference(reference: &Site<'_>, group: Group, errors: &mut Vec<FieldError>) {
    apply(REFERENCE, reference, errors);
    let version = reference.at("apiVersion");
    let text = version.text();
    let found = match text.matches('/').count() {
        _ if text == "/" => None,
        0 => None,
        1 => text.split('/').next().filter(|group| !group.is_empty()),
        _ => {
            let why = format!("unexpected GroupVersion string: {text}");
            return errors.push(FieldError::invalid(version, text, why));
        }
    };
    if found.is_none() && group == Group::Required {
        errors.push(FieldError::invalid(version, text, "apiVersion must specify API group"));
    }
}

/// A source by its member, its type, and the rule of its contents. The order is that in which upstream looks at them.
type Source = (&'static str, &'static str, fn(&Site<'_>, &mut Vec<FieldError>));

const SOURCES: [Source; 5] = [
    ("object", "Object", object),
    ("external", "External", external),
    ("pods", "Pods", pods),
    ("resource", "Resource", resource),
    ("containerResource", "ContainerResource", container_resource),
];

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric(metric: &Site<'_>, errors: &mut Vec<FieldError>) {
    let kind = metric.at("type");
    let known = TYPES.contains(&kind.text());
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    if !known {
        errors.push(kind.not_supported(TYPES));
    }
    let present: Vec<&Source> = SOURCES.iter().filter(|(member, ..)| metric.at(member).is_set()).collect();
    if let Some((member, _, check)) = present.first() {
        check(&metric.at(member), errors);
    }
    let expected = SOURCES.iter().find(|(_, ty, _)| *ty == kind.text()).map(|(member, ..)| *member);
    match expected {
        Some(member) if !metric.at(member).is_set() => {
            errors.push(metric.at(member).required("must populate information for the given metric source"));
        }
        Some(_) => {}
        None => errors.push(kind.not_supported(TYPES)),
    }
    if present.len() != 1 {
        let others = present.iter().filter(|(member, ..)| Some(*member) != expected);
        errors.extend(
            others.map(|(member, ..)| {
                metric.at(member).forbidden("must populate the given metric source only")
            }),
        );
    }
}

fn identifier(metric: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = metric.at("name");
    if name.text().is_empty() {
        errors.push(name.required("must specify a metric name"));
    } else {
        errors.extend(name.format(names::path_segment));
    }
}

fn target(target: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["AverageValue", "Utilization", "Value"];
    let kind = target.at("type");
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !KNOWN.contains(&kind.text()) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(kind, kind.text(), why));
    }
    for amount in ["value", "averageValue"] {
        let amount = target.at(amount);
        let positive = |q: Quantity| q.sign() > 0;
        if amount.is_set() && !amount.text().parse::<Quantity>().is_ok_and(positive) {
            errors.push(amount.invalid("must be positive"));
        }
    }
    let utilization = target.at("averageUtilization");
    if utilization.int().is_some_and(|u| u < 1) {
        errors.push(utilization.invalid("must be greater than 0"));
    }
}

fn neither(amounts: &Site<'_>, first: &str, reported: &str, why: &str) -> Option<FieldError> {
    let absent = !amounts.at(first).is_set() && !amounts.at("averageValue").is_set();
    absent.then(|| amounts.at(reported).required(why))
}

fn object(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    reference(&source.at("describedObject"), Group::Any, errors);
    identifier(&source.at("metric"), errors);
    let amounts = source.at("target");
    target(&amounts, errors);
    errors.extend(neither(
        &amounts,
        "value",
        "averageValue",
        "must set either a target value or averageValue",
    ));
}

fn external(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    identifier(&source.at("metric"), errors);
    let amounts = source.at("target");
    target(&amounts, errors);
    let why = "must set either a target value for metric or a per-pod target";
    errors.extend(neither(&amounts, "value", "averageValue", why));
    if amounts.at("value").is_set() && amounts.at("averageValue").is_set() {
        let why = "may not set both a target value for metric and a per-pod target";
        errors.push(amounts.at("value").forbidden(why));
    }
}

fn pods(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    identifier(&source.at("metric"), errors);
    let amounts = source.at("target");
    target(&amounts, errors);
    if !amounts.at("averageValue").is_set() {
        errors.push(amounts.at("averageValue").required("must specify a positive target averageValue"));
    }
}

fn resource_amounts(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let amounts = source.at("target");
    target(&amounts, errors);
    let why = "must set either a target raw value or a target utilization";
    errors.extend(neither(&amounts, "averageUtilization", "averageUtilization", why));
    if amounts.at("averageUtilization").is_set() && amounts.at("averageValue").is_set() {
        let why = "may not set both a target raw value and a target utilization";
        errors.push(amounts.at("averageValue").forbidden(why));
    }
}

fn resource(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    if source.at("name").text().is_empty() {
        errors.push(source.at("name").required("must specify a resource name"));
    }
    resource_amounts(source, errors);
}

fn container_resource(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, container) = (source.at("name"), source.at("container"));
    if name.text().is_empty() {
        errors.push(name.required("must specify a resource name"));
    } else {
        errors.extend(name.format(names::resource_name));
    }
    if container.text().is_empty() {
        errors.push(container.required("must specify a container"));
    } else {
        errors.extend(container.format(names::dns_label));
    }
    resource_amounts(source, errors);
}

/// Validates an object of version 2.
pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(SPEC, &Site::root(object).at("spec"), &mut errors);
    errors
}

/// Validates the status of an object of version 2.
pub(super) fn status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(STATUS, &Site::root(object).at("status"), &mut errors);
    errors
}
