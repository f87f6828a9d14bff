//! Validation of PersistentVolumeClaims and of the templates of claims.

use super::super::pod;
use super::super::rules::{Check, Rule, Site, apply};
use super::super::{metadata, workload};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;

/// The modes in which a volume can be mounted, in upstream's order.
pub(in super::super) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(in super::super) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Field("accessModes", &[Check::RequiredBecause("at least 1 access mode is required")]),
    Rule::Field("selector", &[Check::Code(selector)]),
    Rule::Code(access_modes),
    Rule::Code(storage),
    Rule::Field("storageClassName", &[Check::Code(class)]),
    Rule::Field("volumeMode", &[Check::Enum(VOLUME_MODES)]),
    Rule::Within("dataSource", &[Rule::Code(data_source)]),
    Rule::Within("dataSourceRef", &[Rule::Code(data_source)]),
    Rule::Code(same_data_sources),
    Rule::Field("volumeAttributesClassName", &[Check::Code(class)]),
];

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
}

/// Access modes must be known, and ReadWriteOncePod excludes others.
pub(in super::super) fn access_modes(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let modes = spec.at("accessModes");
    let all: Vec<&str> = modes.items().map(|mode| mode.value.as_str().unwrap_or("")).collect();
    let unknown = all.iter().filter(|mode| !ACCESS_MODES.contains(mode));
    errors.extend(unknown.map(|mode| FieldError::not_supported(modes, *mode, ACCESS_MODES)));
    let one_pod = all.contains(&"ReadWriteOncePod");
    if one_pod && all.iter().any(|mode| *mode != "ReadWriteOncePod") {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn storage(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let resources = spec.at("resources");
    let requests = resources.at("requests");
    let amount = requests.at("storage");
    let field = format!("{resources}[storage]");
    if !amount.is_set() {
        errors.push(FieldError::required(field, ""));
    } else if !is_positive(amount.text()) {
        errors.push(FieldError::invalid(field, amount.text(), "must be greater than zero"));
    }
}

/// Whether an amount is more than 0.
pub(in super::super) fn is_positive(text: &str) -> bool {
    text.parse::<Quantity>().is_ok_and(|q| q.sign() > 0)
}

/// The name of a class; an empty one means none.
pub(in super::super) fn class(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if !name.text().is_empty() {
        errors.extend(name.format(names::dns_subdomain));
    }
}

fn data_source(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    for member in ["name", "kind"] {
        if source.at(member).text().is_empty() {
            errors.push(source.at(member).required(""));
        }
    }
    let (group, kind) = (source.at("apiGroup"), source.at("kind").text());
    if group.text().is_empty() {
        if kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(source, kind, why));
        }
    } else {
        errors.extend(group.format(names::dns_subdomain));
    }
    let namespace = source.at("namespace");
    if !namespace.text().is_empty() {
        errors.extend(namespace.format(names::dns_label));
    }
}

fn same_data_sources(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (source, reference) = (spec.at("dataSource"), spec.at("dataSourceRef"));
    if !source.is_set() || !reference.is_set() {
        return;
    }
    let same = |member: &str| source.at(member).text() == reference.at(member).text();
    let why = match reference.at("namespace").text() {
        "" if ["apiGroup", "kind", "name"].into_iter().all(same) => return,
        "" => "must match dataSourceRef",
        _ => "may not be specified when dataSourceRef.namespace is specified",
    };
    // Upstream shows a path, which prints as an empty object.
    errors.push(FieldError::invalid_shown(spec, "{}", why));
}

/// Validates a claim.
pub(super) fn validate(claim: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(SPEC, &Site::root(claim).at("spec"), &mut errors);
    errors
}

/// Validates an update: the spec is fixed except for the amount and the attributes class of bound claims.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate(new);
    let bound = access::text(old, &["status", "phase"]) == "Bound";
    let mut kept = old.get("spec").cloned().unwrap_or_default();
    let spec = new.get("spec").cloned().unwrap_or_default();
    if bound {
        access::copy(&spec, &mut kept, &["resources", "requests"]);
        access::copy(&spec, &mut kept, &["volumeAttributesClassName"]);
    }
    // A claim without a volume gets one; a controller sets it.
    if access::text(&kept, &["volumeName"]).is_empty() {
        access::copy(&spec, &mut kept, &["volumeName"]);
    }
    // The class may be set where there was none.
    if access::get(&kept, &["storageClassName"]).is_none() && !bound {
        access::copy(&spec, &mut kept, &["storageClassName"]);
    }
    if spec != kept {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(
            "spec",
            format!("{why}\n{}", pod::dump::difference("ClaimSpec", &kept, &spec)),
        ));
    }
    // As upstream, an absent amount is zero.
    let amount = |claim: &Value, path: &[&str]| access::text(claim, path).parse().unwrap_or(Quantity::ZERO);
    let asked = ["spec", "resources", "requests", "storage"];
    let (now, before, held) =
        (amount(new, &asked), amount(old, &asked), amount(old, &["status", "capacity", "storage"]));
    if now < before && now <= held {
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", why));
    }
    let (mode, old_mode) = (&new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    if mode != old_mode {
        errors.push(FieldError::invalid("volumeMode", mode.clone(), "field is immutable"));
    }
    errors
}

const STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// Validates the template of a claim: its metadata is labels and annotations.
pub(in super::super) fn claim_template(template: &Site<'_>, errors: &mut Vec<FieldError>) {
    metadata::template(&template.at("metadata"), errors);
    apply(SPEC, &template.at("spec"), errors);
}

/// The rules of a status.
pub(in super::super) const STATUS: &[Rule] = &[Rule::Code(amounts), Rule::Code(resize_statuses)];

fn amounts(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    for list in ["capacity", "allocatedResources"] {
        let list = status.at(list);
        for (_, amount) in list.entries() {
            if amount.text().starts_with('-') {
                errors.push(amount.invalid("must be greater than or equal to 0"));
            }
        }
    }
}

fn resize_statuses(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    let statuses = status.at("allocatedResourceStatuses");
    for (resource, found) in statuses.entries() {
        if !STATUSES.contains(&found.text()) {
            errors.push(FieldError::not_supported(statuses, resource, STATUSES));
        }
    }
}
