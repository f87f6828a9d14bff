//! Validation of StatefulSets.

use super::super::rules::{Check, Rule, Site, apply};
use super::super::{metadata, persistent_volume_claim, pod_template, workload};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::object::string_map;
use shim_model::selector::LabelSelector;

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Code(policies),
    Rule::Each("volumeClaimTemplates", &[Rule::Within("spec", persistent_volume_claim::validation::SPEC)]),
    Rule::Field("replicas", &[Check::NonNegative]),
    Rule::Field("minReadySeconds", &[Check::NonNegative]),
    Rule::Within("ordinals", &[Rule::Field("start", &[Check::NonNegative])]),
    Rule::Field("serviceName", &[Check::Code(service_name)]),
    Rule::Code(selector),
    Rule::Code(template),
];

/// The fields of a spec that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn policies(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let policy = spec.at("podManagementPolicy");
    match policy.text() {
        "" => errors.push(policy.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    let strategy = spec.at("updateStrategy");
    let rolling = strategy.at("rollingUpdate");
    match strategy.at("type").text() {
        "" => errors.push(strategy.required("")),
        "OnDelete" if rolling.is_set() => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            let shown = super::super::pod::dump::compact("RollingUpdateStatefulSet", rolling.value);
            errors.push(FieldError::invalid_shown(rolling, shown, why));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            errors.extend(super::super::rules::non_negative(&rolling.at("partition")));
        }
        _ => {
            let shown = super::super::pod::dump::compact("StatefulSetUpdateStrategy", strategy.value);
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid_shown(strategy, shown, why));
        }
    }
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        let policy = retention.at(when);
        if retention.is_set() && !["Retain", "Delete"].contains(&policy.text()) {
            errors.push(policy.not_supported(&["Retain", "Delete"]));
        }
    }
}

fn selector(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let selector = spec.at("selector");
    if !selector.is_set() {
        return errors.push(selector.required(""));
    }
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
    if selector.at("matchLabels").is_zero() && selector.at("matchExpressions").is_zero() {
        errors.push(selector.invalid("empty selector is invalid for statefulset"));
    }
}

fn template(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let selector = spec.at("selector");
    let template = spec.at("template");
    let labels = access::get(template.value, &["metadata", "labels"]);
    let matches = match selector.is_set().then(|| LabelSelector::from_value(selector.value)) {
        None => false,
        Some(Ok(selector)) => {
            selector.is_everything() || selector.matches(&labels.map(string_map).unwrap_or_default())
        }
        Some(Err(_)) => {
            errors.push(selector.invalid(""));
            true
        }
    };
    if !matches {
        let why = "`selector` does not match template `labels`";
        let shown = labels.cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{template}.metadata.labels"), shown, why));
    }
    let whole = with_claims(spec);
    errors.extend(pod_template::validate_template(&whole, format_args!("{template}")));
    // Upstream validates labels and annotations once more.
    metadata::labels(labels, format_args!("{template}.labels"), errors);
    let annotations = access::get(template.value, &["metadata", "annotations"]);
    metadata::annotations(annotations, format_args!("{template}.annotations"), errors);
    let pod = template.at("spec");
    let policy = pod.at("restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    if pod.at("activeDeadlineSeconds").is_set() {
        let why = "activeDeadlineSeconds in StatefulSet is not Supported";
        errors.push(pod.at("activeDeadlineSeconds").forbidden(why));
    }
}

/// The template with the volumes of the claims, which its containers may mount.
fn with_claims(spec: &Site<'_>) -> Value {
    let mut template = spec.at("template").value.clone();
    // The controller sets them.
    access::remove(&mut template, &["spec", "subdomain"]);
    access::remove(&mut template, &["spec", "hostname"]);
    let claims = spec.at("volumeClaimTemplates");
    let volumes = access::object_mut(&mut template, &["spec"]).entry("volumes").or_insert_with(|| json!([]));
    let Some(volumes) = volumes.as_array_mut() else { return template };
    for claim in claims.items() {
        let name = access::text(claim.value, &["metadata", "name"]);
        if !name.is_empty() && !volumes.iter().any(|v| access::text(v, &["name"]) == name) {
            volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
        }
    }
    if volumes.is_empty() {
        access::remove(&mut template, &["spec", "volumes"]);
    }
    template
}

fn service_name(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !name.text().is_empty() {
        errors.extend(name.format(names::dns_label));
    }
}

/// Validates a StatefulSet.
pub(super) fn validate(set: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(SPEC, &Site::root(set).at("spec"), &mut errors);
    errors
}

/// Validates an update.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate(new);
    // They may not change, and what is stored is tolerated.
    errors.retain(|error| !error.field.starts_with("spec.volumeClaimTemplates"));
    let rest = |set: &Value| {
        let mut spec = set.get("spec").cloned().unwrap_or_default();
        let members = access::as_object(&mut spec);
        MUTABLE.iter().for_each(|field| drop(members.remove(*field)));
        // Objects of older versions do not name the type of their claims.
        for claim in
            members.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            ["apiVersion", "kind"].iter().for_each(|member| drop(access::remove(claim, &[member])));
        }
        spec
    };
    if rest(new) != rest(old) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

/// The rules of a status.
pub(in super::super) const STATUS: &[Rule] = &[
    Rule::Field("replicas", &[Check::NonNegative]),
    Rule::Field("readyReplicas", &[Check::NonNegative]),
    Rule::Field("currentReplicas", &[Check::NonNegative]),
    Rule::Field("updatedReplicas", &[Check::NonNegative]),
    Rule::Field("availableReplicas", &[Check::NonNegative]),
    Rule::Field("observedGeneration", &[Check::NonNegative]),
    Rule::Field("collisionCount", &[Check::NonNegative]),
    Rule::Code(counts),
];

fn counts(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let count = |name: &str| status.at(name).int().unwrap_or(0);
    for (part, whole) in [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ] {
        if count(part) > count(whole) {
            let why = format!("cannot be greater than status.{whole}");
            errors.push(FieldError::invalid(status.at(part), count(part), why));
        }
    }
}
