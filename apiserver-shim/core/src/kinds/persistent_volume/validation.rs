//! Validation of PersistentVolumes.

use super::super::persistent_volume_claim::{VOLUME_MODES, access_modes, class_name as class, is_positive};
use super::super::pod::dump;
use super::super::pod_template;
use super::super::rules::{Check, Rule, Site, apply};
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::names;

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];

/// The sources in the order in which upstream looks at them, each with its required members.
const SOURCES: [(&str, &[&str]); 20] = [
    ("hostPath", &["path"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("nfs", &["server", "path"]),
    ("rbd", &["monitors", "image"]),
    ("quobyte", &["registry", "volume"]),
    ("cephfs", &["monitors"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("cinder", &["volumeID"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &["volumeName"]),
];

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Field("accessModes", &[Check::Required]),
    Rule::Code(access_modes),
    Rule::Field("capacity", &[Check::Required]),
    Rule::Code(capacity),
    Rule::Field("persistentVolumeReclaimPolicy", &[Check::Enum(RECLAIM_POLICIES)]),
    Rule::Within("nodeAffinity", &[Rule::Code(node_affinity)]),
    Rule::Code(source),
    Rule::Field("storageClassName", &[Check::Code(class)]),
    Rule::Field("volumeMode", &[Check::Enum(VOLUME_MODES)]),
    Rule::Field("volumeAttributesClassName", &[Check::Code(class)]),
];

fn capacity(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let capacity = spec.at("capacity");
    if !capacity.at("storage").is_set() || capacity.len() > 1 {
        let mut error = capacity.not_supported(&["storage"]);
        error.shown = capacity.value.to_string();
        errors.push(error);
    }
    for (_, amount) in capacity.entries() {
        if !is_positive(amount.text()) {
            errors.push(amount.invalid("must be greater than zero"));
        }
    }
}

fn node_affinity(affinity: &Site<'_>, errors: &mut Vec<FieldError>) {
    let required = affinity.at("required");
    if required.is_set() {
        pod_template::validate_node_selector(required.value, format_args!("{required}"), errors);
    } else {
        errors.push(required.required("must specify required node constraints"));
    }
}

fn source(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut found = 0;
    let mut one = |source: &Site<'_>, errors: &mut Vec<FieldError>| {
        found += 1;
        if found > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type"));
        }
        found == 1
    };
    for (name, required) in SOURCES {
        let source = spec.at(name);
        if source.is_set() && one(&source, errors) {
            let missing = required.iter().filter(|member| source.at(member).is_zero());
            errors.extend(missing.map(|member| source.at(member).required("")));
            if name == "hostPath" {
                backsteps(&source.at("path"), errors);
            }
        }
    }
    let local = spec.at("local");
    if local.is_set() && one(&local, errors) {
        if local.at("path").text().is_empty() {
            errors.push(local.at("path").required(""));
        }
        backsteps(&local.at("path"), errors);
        if !spec.at("nodeAffinity").is_set() {
            errors.push(spec.at("nodeAffinity").required("Local volume requires node affinity"));
        }
    }
    let csi = spec.at("csi");
    if csi.is_set() && one(&csi, errors) {
        csi_source(&csi, errors);
    }
    if found == 0 {
        errors.push(spec.required("must specify a volume type"));
    }
    let root = spec.at("hostPath").at("path").text() == "/";
    if root && spec.at("persistentVolumeReclaimPolicy").text() == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(spec.at("persistentVolumeReclaimPolicy").forbidden(why));
    }
}

fn backsteps(path: &Site<'_>, errors: &mut Vec<FieldError>) {
    if path.text().split('/').any(|part| part == "..") {
        errors.push(path.invalid("must not contain '..'"));
    }
}

fn csi_source(csi: &Site<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&csi.at("driver"), errors);
    if csi.at("volumeHandle").text().is_empty() {
        errors.push(csi.at("volumeHandle").required(""));
    }
    for reference in [
        "controllerPublishSecretRef",
        "nodeStageSecretRef",
        "nodePublishSecretRef",
        "controllerExpandSecretRef",
        "nodeExpandSecretRef",
    ] {
        let reference = csi.at(reference);
        if reference.is_set() {
            let missing = ["name", "namespace"].into_iter().filter(|m| reference.at(m).text().is_empty());
            errors.extend(missing.map(|member| reference.at(member).required("")));
        }
    }
}

/// Bytes of the name of a driver.
const DRIVER_NAME_MAX: usize = 63;

/// The name of a CSI driver.
pub(in super::super) fn driver_name(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    let text = name.text();
    if text.is_empty() {
        errors.push(name.required(""));
    }
    if text.len() > DRIVER_NAME_MAX {
        errors.push(FieldError::too_long(name, DRIVER_NAME_MAX));
    }
    if !text.is_empty() {
        let lower = text.to_lowercase();
        let wrong = names::dns_subdomain(&lower).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(name, lower.as_str(), why)));
    }
}

/// Validates a volume.
pub(super) fn validate(volume: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    apply(SPEC, &Site::root(volume).at("spec"), &mut errors);
    errors
}

/// Validates an update.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate(new);
    let names = SOURCES.iter().map(|(name, _)| *name).chain(["local", "csi"]);
    let (now, before) = (&new["spec"], &old["spec"]);
    if names.into_iter().any(|name| now.get(name) != before.get(name)) {
        let why = "spec.persistentvolumesource is immutable after creation";
        let text = dump::difference("PersistentVolumeSource", before, now);
        errors.push(FieldError::forbidden("spec.persistentvolumesource", format!("{why}\n{text}")));
    }
    if now.get("volumeMode") != before.get("volumeMode") {
        let shown = now.get("volumeMode").cloned().unwrap_or_default();
        errors.push(FieldError::invalid("volumeMode", shown, "field is immutable"));
    }
    let affinity = before.get("nodeAffinity");
    if affinity.is_some() && now.get("nodeAffinity") != affinity {
        let shown = dump::compact("VolumeNodeAffinity", now.get("nodeAffinity").unwrap_or(&Value::Null));
        let why = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError::invalid_shown("nodeAffinity", shown, why));
    }
    errors
}
