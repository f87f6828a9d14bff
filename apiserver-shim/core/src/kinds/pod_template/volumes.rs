//! Validation of volumes: one source each, and the fields of each common source.

use super::containers::{Volumes, field_ref, resource_ref};
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use std::collections::BTreeSet;

/// Validates a spec's volumes and returns those with valid names.
pub(super) fn validate<'a>(spec: &Members<'a>, field: At<'_>, errors: &mut Vec<FieldError>) -> Volumes<'a> {
    let mut found = Volumes::new();
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        let at = format_args!("{field}.volumes[{i}]");
        source(volume, at, errors);
        let name = access::text(volume, &["name"]);
        let wrong = names::dns_label(name);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !wrong.is_empty() {
            errors.extend(wrong.into_iter().map(|d| FieldError::invalid(format!("{at}.name"), name, d)));
        } else if found.insert(name, volume).is_some() {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
    }
    found
}

fn source(volume: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    // Upstream checks the sources in the order of their declaration and takes the first one.
    const ORDER: [&str; 30] = [
        "emptyDir",
        "hostPath",
        "gitRepo",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "secret",
        "nfs",
        "iscsi",
        "glusterfs",
        "flocker",
        "persistentVolumeClaim",
        "rbd",
        "cinder",
        "cephfs",
        "quobyte",
        "downwardAPI",
        "fc",
        "flexVolume",
        "configMap",
        "azureFile",
        "vsphereVolume",
        "photonPersistentDisk",
        "portworxVolume",
        "azureDisk",
        "storageos",
        "projected",
        "scaleIO",
        "csi",
        "ephemeral",
        "image",
    ];
    let mut found = 0;
    for name in ORDER {
        let Some(source) = volume.get(name) else { continue };
        let at = format_args!("{at}.{name}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type"));
        } else {
            one(name, source, at, errors);
        }
    }
    if found == 0 {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
}

fn one(name: &str, source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let mut need = |keys: &[&str]| {
        let missing = keys.iter().filter(|k| source.get(**k).is_none_or(access::is_zero));
        errors.extend(missing.map(|k| FieldError::required(format!("{at}.{k}"), "")));
    };
    match name {
        "hostPath" => need(&["path"]),
        "nfs" => need(&["server", "path"]),
        "persistentVolumeClaim" => need(&["claimName"]),
        "csi" => need(&["driver"]),
        "secret" => need(&["secretName"]),
        "ephemeral" => need(&["volumeClaimTemplate"]),
        _ => {}
    }
    match name {
        "emptyDir" => {
            let negative = access::text(source, &["sizeLimit"]).starts_with('-');
            if negative {
                errors.push(FieldError::forbidden(
                    format!("{at}.sizeLimit"),
                    "SizeLimit field must be a valid resource quantity",
                ));
            }
        }
        "hostPath" => host_path(source, at, errors),
        "secret" | "configMap" => {
            mode(source, "defaultMode", at, errors);
            if name == "configMap" && access::text(source, &["name"]).is_empty() {
                errors.push(FieldError::required(format!("{at}.name"), ""));
            }
            items(source, at, errors);
        }
        "downwardAPI" => {
            mode(source, "defaultMode", at, errors);
            downward(source, at, errors);
        }
        "projected" => projected(source, at, errors),
        "image" => image(source, at, errors),
        _ => {}
    }
}

fn host_path(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let path = access::text(source, &["path"]);
    if path.split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid(format!("{at}.path"), path, "must not contain '..'"));
    }
    let ty = access::text(source, &["type"]);
    if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(format!("{at}.type"), ty, TYPES));
    }
}

fn mode(source: &Value, key: &str, at: At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(bits) = access::int(source, &[key]).filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(format!("{at}.{key}"), bits, detail));
    }
}

fn items(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    for (i, item) in access::list(source, &["items"]).iter().enumerate() {
        let at = format_args!("{at}.items[{i}]");
        if access::text(item, &["key"]).is_empty() {
            errors.push(FieldError::required(format!("{at}.key"), ""));
        }
        item_path(item, at, errors);
        mode(item, "mode", at, errors);
    }
}

fn item_path(item: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let path = access::text(item, &["path"]);
    if path.is_empty() {
        errors.push(FieldError::required(format!("{at}.path"), ""));
    }
    local_path(path, format_args!("{at}.path"), errors);
}

/// Validates a relative path without `..`.
pub(super) fn local_path(path: &str, at: At<'_>, errors: &mut Vec<FieldError>) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(at, path, "must be a relative path"));
    }
    if path.split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid(at, path, "must not contain '..'"));
    }
}

fn downward(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const FIELDS: &[&str] =
        &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    for (i, item) in access::list(source, &["items"]).iter().enumerate() {
        let at = format_args!("{at}.items[{i}]");
        item_path(item, at, errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(_), Some(_)) => errors.push(FieldError::invalid(
                at,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            )),
            (Some(field), None) => field_ref(field, format_args!("{at}.fieldRef"), FIELDS, errors),
            (None, Some(resource)) => {
                resource_ref(resource, format_args!("{at}.resourceFieldRef"), true, errors)
            }
            (None, None) => errors.push(FieldError::required(
                format!("{at}.fieldRef"),
                "one of fieldRef and resourceFieldRef is required",
            )),
        }
        mode(item, "mode", at, errors);
    }
}

/// Shortest lifetime of a projected token, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;

fn projected(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    mode(source, "defaultMode", at, errors);
    let mut paths = BTreeSet::new();
    for (i, part) in access::list(source, &["sources"]).iter().enumerate() {
        let part_at = format_args!("{at}.sources[{i}]");
        let kinds = part.as_object().map_or(0, serde_json::Map::len);
        if kinds == 0 {
            errors.push(FieldError::required(part_at, "must specify a volume type"));
        } else if kinds > 1 {
            errors.push(FieldError::forbidden(part_at, "may not specify more than 1 volume type"));
        }
        // A conflict is reported with the name of the object that has the second file, if any.
        let mut path = |path: &str, shown: &str, errors: &mut Vec<FieldError>| {
            if !path.is_empty() && !paths.insert(path.to_owned()) {
                errors.push(FieldError::invalid(at, shown, "conflicting duplicate paths"));
            }
        };
        for key in ["secret", "configMap"] {
            let Some(reference) = part.get(key) else { continue };
            if access::text(reference, &["name"]).is_empty() {
                errors.push(FieldError::required(format!("{part_at}.{key}.name"), ""));
            }
            items(reference, format_args!("{part_at}.{key}"), errors);
            let name = access::text(reference, &["name"]);
            access::list(reference, &["items"])
                .iter()
                .for_each(|i| path(access::text(i, &["path"]), name, errors));
        }
        if let Some(reference) = part.get("downwardAPI") {
            downward(reference, format_args!("{part_at}.downwardAPI"), errors);
            for item in access::list(reference, &["items"]) {
                let file = access::text(item, &["path"]);
                path(file, file, errors);
            }
        }
        if let Some(token) = part.get("serviceAccountToken") {
            let token_at = format_args!("{part_at}.serviceAccountToken");
            let seconds = access::int(token, &["expirationSeconds"]).unwrap_or(TOKEN_SECONDS_MIN);
            if seconds < TOKEN_SECONDS_MIN {
                errors.push(FieldError::invalid(
                    format!("{token_at}.expirationSeconds"),
                    seconds,
                    "may not specify a duration less than 10 minutes",
                ));
            }
            let token_path = access::text(token, &["path"]);
            if token_path.is_empty() {
                errors.push(FieldError::required(format!("{token_at}.path"), ""));
            }
            path(token_path, token_path, errors);
        }
    }
}

fn image(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    const POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
    if access::text(source, &["reference"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.reference"), ""));
    }
    let policy = access::text(source, &["pullPolicy"]);
    if !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(format!("{at}.pullPolicy"), policy, POLICIES));
    }
}
