//! Validation of PersistentVolumes.

use super::super::persistent_volume_claim::{VOLUME_MODES, access_modes, class_name as class, is_positive};
use super::super::pod::dump;
use super::super::pod_template;
use super::super::rules::{Check, Rule, Site, apply};
use super::super::volume_sources::{self, Holder};
use serde_json::Value;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::quantity::Quantity;

/// What is wrong with a name.
type Format = fn(&str) -> Vec<String>;

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];

/// The sources in the order in which upstream looks at them, before `local` and after it.
const SOURCES: [&str; 19] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
];
const LATER_SOURCES: [&str; 3] = ["local", "storageos", "csi"];

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Field("accessModes", &[Check::Required]),
    Rule::Code(access_modes),
    Rule::Field("capacity", &[Check::Required]),
    Rule::Code(capacity),
    Rule::Field("persistentVolumeReclaimPolicy", &[Check::Enum(RECLAIM_POLICIES)]),
    Rule::Within("nodeAffinity", &[Rule::Code(node_affinity)]),
];
const AFTER_SOURCE: &[Rule] = &[
    Rule::Field("storageClassName", &[Check::Code(class)]),
    Rule::Field("volumeMode", &[Check::Enum(VOLUME_MODES)]),
    Rule::Code(attributes_class),
];

fn attributes_class(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = spec.at("volumeAttributesClassName");
    match name.text() {
        _ if !name.is_set() => return,
        "" => errors.push(name.required("an empty string is disallowed")),
        _ => errors.extend(name.format(names::dns_subdomain)),
    }
    if !spec.at("csi").is_set() {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(spec.at("csi").required(why));
    }
}

fn capacity(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let capacity = spec.at("capacity");
    if !capacity.at("storage").is_set() || capacity.len() > 1 {
        let mut error = capacity.not_supported(&["storage"]);
        error.shown = capacity.value.to_string();
        errors.push(error);
    }
    for (_, amount) in capacity.entries() {
        let value = amount.text().parse().unwrap_or(Quantity::ZERO).units();
        if value < 0 {
            errors.push(FieldError::invalid(amount, value, "must be a valid resource quantity"));
        }
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

/// Validates the source of a volume called `owner`.
fn source(spec: &Site<'_>, owner: &str, errors: &mut Vec<FieldError>) {
    let mut found = 0;
    for name in SOURCES.iter().chain(&LATER_SOURCES).copied() {
        let source = spec.at(name);
        if !source.is_set() {
            continue;
        }
        found += 1;
        // Upstream accepts a FlexVolume beside another source.
        if found > 1 && name != "flexVolume" {
            let at = if name == "cephfs" { spec.at("cephFS") } else { source };
            errors.push(at.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        match name {
            "hostPath" => volume_sources::host_path(&source, errors),
            "local" => local(spec, &source, errors),
            "csi" => csi_source(&source, errors),
            "gcePersistentDisk" => {
                let path = format!("{spec}.persistentDisk");
                let source = Site::below(&path, source.value);
                volume_sources::validate(name, &source, (Holder::PersistentVolume, owner), errors);
            }
            _ => volume_sources::validate(name, &source, (Holder::PersistentVolume, owner), errors),
        }
    }
    if found == 0 {
        errors.push(spec.required("must specify a volume type"));
    }
    let path = spec.at("hostPath");
    let path = path.at("path");
    let is_root =
        path.text().starts_with('/') && path.text().split('/').all(|part| part.is_empty() || part == ".");
    if is_root && spec.at("persistentVolumeReclaimPolicy").text() == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(spec.at("persistentVolumeReclaimPolicy").forbidden(why));
    }
}

fn local(spec: &Site<'_>, local: &Site<'_>, errors: &mut Vec<FieldError>) {
    if local.at("path").text().is_empty() {
        errors.push(local.at("path").required(""));
    } else {
        volume_sources::backsteps(&local.at("path"), errors);
    }
    if !spec.at("nodeAffinity").is_set() {
        errors.push(spec.at("nodeAffinity").required("Local volume requires node affinity"));
    }
}

fn csi_source(csi: &Site<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&csi.at("driver"), errors);
    if csi.at("volumeHandle").text().is_empty() {
        errors.push(csi.at("volumeHandle").required(""));
    }
    for reference in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let reference = csi.at(reference);
        if !reference.is_set() {
            continue;
        }
        let formats: [(&str, Format); 2] = [("name", names::dns_subdomain), ("namespace", names::dns_label)];
        for (member, format) in formats {
            let member = reference.at(member);
            match member.text() {
                "" => errors.push(member.required("")),
                _ => errors.extend(member.format(format)),
            }
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
        let wrong = names::dns_subdomain(&text.to_lowercase()).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(name, text, why)));
    }
}

/// Validates a volume.
pub(super) fn validate(volume: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(volume);
    let spec = root.at("spec");
    apply(SPEC, &spec, &mut errors);
    source(&spec, shim_model::access::text(volume, &["metadata", "name"]), &mut errors);
    apply(AFTER_SOURCE, &spec, &mut errors);
    errors
}

/// Validates the spec of a volume that is part of a VolumeAttachment: only CSI volumes are.
pub(in super::super) fn inline(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let elsewhere = "may not be specified in the context of inline volumes";
    let mut forbid = |member: &str| {
        if !spec.at(member).is_zero() {
            errors.push(spec.at(member).forbidden(elsewhere));
        }
    };
    forbid("claimRef");
    forbid("capacity");
    if !spec.at("csi").is_set() {
        errors.push(spec.at("csi").required("has to be specified in the context of inline volumes"));
    }
    apply(&[Rule::Field("accessModes", &[Check::Required]), Rule::Code(access_modes)], spec, errors);
    let policy = spec.at("persistentVolumeReclaimPolicy");
    if !matches!(policy.text(), "" | "Retain") {
        errors.push(policy.forbidden("may only be Retain in the context of inline volumes"));
    }
    if spec.at("nodeAffinity").is_set() {
        errors.push(spec.at("nodeAffinity").forbidden(elsewhere));
    }
    source(spec, "", errors);
    if !spec.at("storageClassName").is_zero() {
        errors.push(spec.at("storageClassName").forbidden(elsewhere));
    }
    let mode = spec.at("volumeMode");
    if mode.is_set() && mode.text() != "Filesystem" {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(mode.forbidden(why));
    }
}

/// Validates an update.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    // Upstream validates the volume twice.
    let mut errors = [validate(new), validate(new)].concat();
    let names = SOURCES.iter().chain(&LATER_SOURCES).copied();
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
