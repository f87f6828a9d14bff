//! Validation of volume mounts and volume devices.

use super::containers::Volumes;
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use std::collections::BTreeSet;

/// Validates the volume mounts of a container.
pub(super) fn validate(
    container: &Members<'_>,
    at: At<'_>,
    volumes: &Volumes<'_>,
    errors: &mut Vec<FieldError>,
) {
    let devices = |member: &'static str| {
        container.list("volumeDevices").iter().map(move |device| access::text(device, &[member]))
    };
    let mut paths = BTreeSet::new();
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        // Upstream's paths of some errors have no index.
        let list = format_args!("{at}.volumeMounts");
        let at = format_args!("{list}[{i}]");
        let (name, path) = (access::text(mount, &["name"]), access::text(mount, &["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(format!("{at}.name"), name));
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{at}.mountPath"), ""));
        }
        let mut invalid = |key: &str, value: &str, why: &str| {
            errors.push(FieldError::invalid(format!("{at}.{key}"), value, why));
        };
        if !paths.insert(path) {
            invalid("mountPath", path, "must be unique");
        }
        if devices("name").any(|device| device == name) {
            invalid("name", name, "must not already exist in volumeDevices");
        }
        if devices("devicePath").any(|device| device == path) {
            invalid("mountPath", path, "must not already exist as a path in volumeDevices");
        }
        let [sub, expression] = ["subPath", "subPathExpr"].map(|key| access::text(mount, &[key]));
        super::volumes::local_path(sub, format_args!("{list}.subPath"), errors);
        if !sub.is_empty() && !expression.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(format!("{at}.subPathExpr"), expression, why));
        }
        super::volumes::local_path(expression, format_args!("{list}.subPathExpr"), errors);
        propagation(container, mount, list, errors);
        recursive_read_only(mount, format_args!("{list}.recursiveReadOnly"), errors);
    }
}

fn recursive_read_only(mount: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const MODES: &[&str] = &["Disabled", "Enabled", "IfPossible"];
    let Some(mode) = mount.get("recursiveReadOnly").and_then(Value::as_str) else { return };
    if !MODES.contains(&mode) {
        errors.push(FieldError::not_supported(at, mode, MODES));
    }
    if !["Enabled", "IfPossible"].contains(&mode) {
        return;
    }
    if !access::flag(mount, &["readOnly"]) {
        errors.push(FieldError::forbidden(at, "may only be specified when readOnly is true"));
    }
    if !["", "None"].contains(&access::text(mount, &["mountPropagation"])) {
        let detail = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(at, detail));
    }
}

fn propagation(container: &Members<'_>, mount: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const MODES: &[&str] = &["Bidirectional", "HostToContainer", "None"];
    let Some(mode) = mount.get("mountPropagation").and_then(Value::as_str) else { return };
    let at = format_args!("{at}.mountPropagation");
    if !MODES.contains(&mode) {
        errors.push(FieldError::not_supported(at, mode, MODES));
    } else if mode == "Bidirectional"
        && !container.get("securityContext").is_some_and(|c| access::flag(c, &["privileged"]))
    {
        errors.push(FieldError::forbidden(
            at,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
}

/// Validates the block devices of a container: only claims have them.
pub(super) fn validate_devices(
    container: &Members<'_>,
    at: At<'_>,
    volumes: &Volumes<'_>,
    errors: &mut Vec<FieldError>,
) {
    let mounted = |member: &'static str| {
        container.list("volumeMounts").iter().map(move |mount| access::text(mount, &[member]))
    };
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let at = format_args!("{at}.volumeDevices[{i}]");
        let (name, path) = (access::text(device, &["name"]), access::text(device, &["devicePath"]));
        let invalid =
            |key: &str, value: &str, detail: &str| FieldError::invalid(format!("{at}.{key}"), value, detail);
        let volume = volumes.get(name);
        let has_claim = |v: &&Value| v.get("persistentVolumeClaim").or_else(|| v.get("ephemeral")).is_some();
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !names.insert(name) {
            errors.push(invalid("name", name, "must be unique"));
        }
        match volume {
            None => errors.push(FieldError::not_found(format!("{at}.name"), name)),
            Some(volume) if !has_claim(volume) => {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(invalid("name", name, why));
            }
            Some(_) => {}
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{at}.devicePath"), ""));
        }
        if paths.contains(path) {
            errors.push(invalid("devicePath", path, "must be unique"));
        }
        if path.split('/').any(|part| part == "..") {
            errors.push(invalid("devicePath", path, "can not contain backsteps ('..')"));
        } else {
            paths.insert(path);
        }
        if mounted("name").any(|mount| mount == name) {
            errors.push(invalid("name", name, "must not already exist in volumeMounts"));
        }
        if mounted("mountPath").any(|mount| mount == path) {
            errors.push(invalid("devicePath", path, "must not already exist as a path in volumeMounts"));
        }
    }
}
