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
    let mut paths = BTreeSet::new();
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        // Upstream's paths of some errors have no index.
        let list = format_args!("{at}.volumeMounts");
        let at = format_args!("{list}[{i}]");
        let name = access::text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(format!("{at}.name"), name));
        }
        let path = access::text(mount, &["mountPath"]);
        if path.is_empty() {
            errors.push(FieldError::required(format!("{at}.mountPath"), ""));
        } else if !paths.insert(path) {
            errors.push(FieldError::invalid(format!("{at}.mountPath"), path, "must be unique"));
        }
        let sub = [access::text(mount, &["subPath"]), access::text(mount, &["subPathExpr"])];
        for (key, value) in ["subPath", "subPathExpr"].iter().zip(sub) {
            super::volumes::local_path(value, format_args!("{list}.{key}"), errors);
        }
        if sub.iter().all(|s| !s.is_empty()) {
            errors.push(FieldError::invalid(
                format!("{at}.subPathExpr"),
                sub[1],
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
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
    let mounted: BTreeSet<&str> =
        container.list("volumeMounts").iter().map(|mount| access::text(mount, &["name"])).collect();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let at = format_args!("{at}.volumeDevices[{i}]");
        let (name, path) = (access::text(device, &["name"]), access::text(device, &["devicePath"]));
        let mut invalid = |key: &str, value: &str, detail: &str| {
            errors.push(FieldError::invalid(format!("{at}.{key}"), value, detail));
        };
        let volume = volumes.get(name);
        let has_claim = |v: &&Value| v.get("persistentVolumeClaim").or_else(|| v.get("ephemeral")).is_some();
        if !names.insert(name) {
            invalid("name", name, "must be unique");
        }
        if volume.is_some_and(|volume| !has_claim(volume)) {
            let detail =
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            invalid("name", name, detail);
        }
        if path.split('/').any(|part| part == "..") {
            invalid("devicePath", path, "can not contain backsteps ('..')");
        } else if !path.is_empty() && !paths.insert(path) {
            invalid("devicePath", path, "must be unique");
        }
        if mounted.contains(name) {
            invalid("name", name, "must not already exist in volumeMounts");
        }
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if volume.is_none() {
            errors.push(FieldError::not_found(format!("{at}.name"), name));
        }
        if path.is_empty() {
            errors.push(FieldError::required(format!("{at}.devicePath"), ""));
        }
    }
}
