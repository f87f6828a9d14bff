//! Validation of the kinds of `storage.k8s.io`.

use super::super::persistent_volume::{driver_name, inline_volume};
use super::super::rules::{Check, Rule, Site, apply, immutable};
use super::super::workload;
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use std::collections::{BTreeMap, BTreeSet};

/// Entries and bytes of the parameters of a class.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const NODE_ID_MAX: usize = 192;
/// Seconds that a token for a driver is valid for, at least and at most.
const TOKEN_SECONDS_MIN: i64 = 10 * 60;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The rules of a StorageClass.
pub(in super::super) const CLASS: &[Rule] = &[
    Rule::Field("provisioner", &[Check::Required, Check::Code(lower_qualified)]),
    Rule::Field("parameters", &[Check::Code(parameters)]),
    Rule::Field("reclaimPolicy", &[Check::Enum(&["Delete", "Retain"])]),
    Rule::Field("volumeBindingMode", &[Check::Enum(&["Immediate", "WaitForFirstConsumer"])]),
    Rule::Code(topologies),
];

/// Each term once, and each key once in a term.
fn topologies(class: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut terms: Vec<BTreeMap<String, BTreeSet<String>>> =
        vec![BTreeMap::new(); class.at("allowedTopologies").len()];
    for term in class.at("allowedTopologies").items() {
        let expressions = term.at("matchLabelExpressions");
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for requirement in expressions.items() {
            topology(&requirement, errors);
            let key = access::text(requirement.value, &["key"]);
            if keys.contains_key(key) {
                errors.push(FieldError::duplicate(requirement.at("key"), key));
            }
            let values = access::list(requirement.value, &["values"]).iter().filter_map(Value::as_str);
            keys.insert(key.to_owned(), values.map(str::to_owned).collect());
        }
        // Upstream compares with as many empty terms, too.
        let twice = terms.iter().filter(|other| **other == keys).count();
        errors.extend((0..twice).map(|_| FieldError::duplicate(expressions, "")));
        terms.push(keys);
    }
}

fn lower_qualified(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    let lower = name.text().to_lowercase();
    let wrong = names::qualified(&lower).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid(name, lower.as_str(), why)));
}

fn parameters(parameters: &Site<'_>, errors: &mut Vec<FieldError>) {
    if parameters.len() > PARAMETERS_MAX {
        errors.push(FieldError::too_long(parameters, PARAMETERS_MAX));
        return;
    }
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.push(FieldError::invalid(parameters, key, "field can not be empty."));
        }
        size += key.len() + value.text().len();
    }
    if size > PARAMETERS_BYTES_MAX {
        errors.push(FieldError::too_long(parameters, PARAMETERS_BYTES_MAX));
    }
}

fn topology(requirement: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (key, values) = (requirement.at("key"), requirement.at("values"));
    if values.len() == 0 {
        errors.push(values.required(""));
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for value in values.items() {
        let text = value.value.as_str().unwrap_or("");
        if !seen.insert(text) {
            errors.push(value.duplicate());
        }
    }
    errors.extend(key.format(names::qualified));
}

/// Errors of an update that changes members which an update cannot change.
pub(super) fn fixed(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    let value =
        |object: &Value, field: &str| object.get(field).filter(|v| !shim_model::access::is_zero(v)).cloned();
    let changed = fields.iter().filter(|field| value(new, field) != value(old, field));
    changed.map(|field| FieldError::forbidden(field, format!("updates to {field} are forbidden."))).collect()
}

/// Validates an update of a StorageClass.
pub(super) fn class_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = super::super::rules::validate(CLASS, new);
    errors.extend(immutable(new, old, &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"]));
    errors
}

/// The rules of a VolumeAttributesClass.
pub(in super::super) const ATTRIBUTES_CLASS: &[Rule] = &[
    Rule::Field("driverName", &[Check::Required, Check::Code(lower_qualified)]),
    Rule::Field(
        "parameters",
        &[Check::RequiredBecause("must contain at least one key/value pair"), Check::Code(parameters)],
    ),
];

/// The rules of a CSIDriver's spec.
pub(in super::super) const DRIVER: &[Rule] = &[
    Rule::Field("fsGroupPolicy", &[Check::Enum(&["File", "None", "ReadWriteOnceWithFSType"])]),
    Rule::Code(token_requests),
    Rule::Code(lifecycle_modes),
    Rule::Field(
        "nodeAllocatableUpdatePeriodSeconds",
        &[Check::AtLeast(10, "must be greater than or equal to 10 seconds")],
    ),
    Rule::Code(token_in_secrets),
];

fn token_in_secrets(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let flag = spec.at("serviceAccountTokenInSecrets");
    if flag.is_set() && spec.at("tokenRequests").len() == 0 {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(flag.invalid(why));
    }
}

fn token_requests(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for request in spec.at("tokenRequests").items() {
        let audience = request.value.get("audience").and_then(Value::as_str).unwrap_or("");
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(request.at("audience"), audience));
            continue;
        }
        let lifetime = request.at("expirationSeconds");
        if lifetime.int().is_some_and(|s| s < TOKEN_SECONDS_MIN) {
            errors.push(lifetime.invalid("may not specify a duration less than 10 minutes"));
        }
        if lifetime.int().is_some_and(|s| s > TOKEN_SECONDS_MAX) {
            errors.push(lifetime.invalid("may not specify a duration larger than 2^32 seconds"));
        }
    }
}

fn lifecycle_modes(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["Persistent", "Ephemeral"];
    let modes = spec.at("volumeLifecycleModes");
    for mode in modes.items().filter(|mode| !KNOWN.contains(&mode.text())) {
        errors.push(FieldError::not_supported(modes, mode.text(), KNOWN));
    }
}

/// Validates an update of a CSIDriver.
pub(super) fn driver_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(DRIVER, &Site::root(new).at("spec"), &mut errors);
    if new["spec"].get("attachRequired") != old["spec"].get("attachRequired") {
        let shown = new["spec"]["attachRequired"].clone();
        errors.push(FieldError::invalid("spec.attachedRequired", shown, "field is immutable"));
    }
    errors.extend(immutable(new, old, &["spec.volumeLifecycleModes"]));
    errors
}

/// The rules of a CSINode's spec.
pub(in super::super) const NODE: &[Rule] = &[Rule::Code(node_drivers)];

fn node_drivers(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for driver in spec.at("drivers").items() {
        let name = driver.value.get("name").and_then(Value::as_str).unwrap_or("");
        driver_name(&driver.at("name"), errors);
        let id = driver.at("nodeID");
        if id.text().is_empty() {
            errors.push(id.required(""));
        }
        if id.text().len() > NODE_ID_MAX {
            errors.push(id.invalid(format!("must be {NODE_ID_MAX} characters or less")));
        }
        let allocatable = driver.at("allocatable");
        errors.extend(super::super::rules::non_negative(&allocatable.at("count")));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(driver.at("name"), name));
        }
        topology_keys(&driver, errors);
    }
}

fn topology_keys(driver: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for key in driver.at("topologyKeys").items() {
        let text = key.value.as_str().unwrap_or("");
        if text.is_empty() {
            errors.push(driver.required(""));
        }
        if !seen.insert(text) {
            errors.push(FieldError::duplicate(driver, text));
        }
        errors.extend(names::qualified(text).into_iter().map(|why| FieldError::invalid(driver, text, why)));
    }
}

/// Validates an update of a CSINode: what a driver has reported stays, except for what it can hold.
pub(super) fn node_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(NODE, &Site::root(new).at("spec"), &mut errors);
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        shim_model::access::as_object(&mut driver).remove("allocatable");
        driver
    };
    for before in shim_model::access::list(old, &["spec", "drivers"]) {
        let same = |driver: &&Value| driver.get("name") == before.get("name");
        let now = shim_model::access::list(new, &["spec", "drivers"]).iter().find(same);
        if let Some(now) = now.filter(|now| fixed(now) != fixed(before)) {
            let shown = super::super::pod::dump::compact("CSINodeDriver", now);
            errors.push(FieldError::invalid_shown("CSINodeDriver", shown, "field is immutable"));
        }
    }
    errors
}

/// The rules of a CSIStorageCapacity.
pub(in super::super) const CAPACITY: &[Rule] = &[
    Rule::Field("nodeTopology", &[Check::Code(selector)]),
    Rule::Code(capacity_class),
    Rule::Field("capacity", &[Check::Code(not_negative)]),
    Rule::Field("maximumVolumeSize", &[Check::Code(not_negative)]),
];

fn selector(selector: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(workload::label_selector(selector.value, format_args!("{selector}")));
}

fn capacity_class(object: &Site<'_>, errors: &mut Vec<FieldError>) {
    errors.extend(object.at("storageClassName").format(names::dns_subdomain));
}

fn not_negative(amount: &Site<'_>, errors: &mut Vec<FieldError>) {
    if amount.text().starts_with('-') {
        errors.push(amount.invalid("must be greater than or equal to 0"));
    }
}

/// The rules of a VolumeAttachment.
pub(in super::super) const ATTACHMENT: &[Rule] = &[
    Rule::Within(
        "spec",
        &[
            Rule::Field("attacher", &[Check::Code(driver_name)]),
            Rule::Within("source", &[Rule::Code(attachment_source)]),
            Rule::Code(attachment_node),
        ],
    ),
    Rule::Within("status", &[Rule::Code(volume_errors)]),
    Rule::Within("spec", &[Rule::Code(attachment_volume)]),
];

fn attachment_source(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (inline, name) = (source.at("inlineVolumeSpec"), source.at("persistentVolumeName"));
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => errors.push(source.required(why)),
        (true, true) => errors.push(source.forbidden(why)),
        (false, true) if name.text().is_empty() => {
            errors.push(name.required("must specify non empty persistentVolumeName"));
        }
        (true, false) => inline_volume(&inline, errors),
        (false, true) => {}
    }
}

fn attachment_volume(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let source = spec.at("source");
    let name = source.at("persistentVolumeName");
    if name.is_set() {
        errors.extend(name.format(names::dns_subdomain));
    }
}

fn volume_errors(status: &Site<'_>, errors: &mut Vec<FieldError>) {
    const MESSAGE_MAX: usize = 1024;
    /// Upstream names the bound of the metadata.
    const METADATA_MAX: usize = 256 * 1024;
    let metadata = status.at("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.text().len()).sum();
    if size > METADATA_MAX {
        errors.push(FieldError::too_long(metadata, METADATA_MAX));
    }
    for error in ["attachError", "detachError"] {
        let error = status.at(error);
        if error.at("message").text().len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(error.at("message"), METADATA_MAX));
        }
        let code = error.at("errorCode");
        if code.int().is_some_and(|code| code < 0) {
            errors.push(code.invalid("must be between 0 and 2147483647, inclusive"));
        }
    }
}

fn attachment_node(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = spec.at("nodeName");
    errors.extend(name.format(names::dns_subdomain));
}
