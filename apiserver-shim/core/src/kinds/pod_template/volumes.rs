//! Validation of volumes: one source each, and the fields of each common source.

use super::super::certificate_signing_request::signer_name;
use super::super::persistent_volume::driver_name;
use super::super::persistent_volume_claim::claim_template;
use super::super::rules::Site;
use super::super::volume_sources::{self, Holder};
use super::super::workload::label_selector;
use super::containers::{Volumes, field_ref, resource_ref};
use serde_json::Value;
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};
use shim_model::names;
use std::collections::BTreeSet;

/// Validates a spec's volumes and returns those without errors, by name.
/// As upstream, the others are unknown to mounts.
pub(super) fn validate<'a>(spec: &Members<'a>, field: At<'_>, errors: &mut Vec<FieldError>) -> Volumes<'a> {
    let mut found = Volumes::new();
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        let at = format_args!("{field}.volumes[{i}]");
        let before = errors.len();
        source(volume, at, errors);
        let name = access::text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else {
            let wrong = names::dns_label(name).into_iter();
            errors.extend(wrong.map(|d| FieldError::invalid(format!("{at}.name"), name, d)));
        }
        if found.contains_key(name) {
            errors.push(FieldError::duplicate(format!("{at}.name"), name));
        }
        if errors.len() == before {
            found.insert(name, volume);
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
    let owner = access::text(volume, &["name"]);
    for name in ORDER {
        let Some(source) = volume.get(name) else { continue };
        found += 1;
        if found > 1 {
            // Upstream's paths of these errors are misspelt.
            let shown = match name {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                name => name,
            };
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{at}.{shown}"), why));
        } else {
            one(name, source, (at, owner), errors);
        }
        if name == "iscsi" && has_long_portal(source, owner) {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(FieldError::invalid(format!("{at}.name"), owner, why));
        }
    }
    if found == 0 {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
}

fn has_long_portal(source: &Value, owner: &str) -> bool {
    let portal = access::text(source, &["targetPortal"]);
    source.get("initiatorName").is_some() && owner.len() + 1 + portal.len() > 64
}

fn one(name: &str, source: &Value, (volume, owner): (At<'_>, &str), errors: &mut Vec<FieldError>) {
    let at = format_args!("{volume}.{name}");
    let mut need = |key: &str| {
        if source.get(key).is_none_or(access::is_zero) {
            errors.push(FieldError::required(format!("{at}.{key}"), ""));
        }
    };
    match name {
        "emptyDir" => {
            if access::text(source, &["sizeLimit"]).starts_with('-') {
                let why = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(format!("{at}.sizeLimit"), why));
            }
        }
        "persistentVolumeClaim" => need("claimName"),
        "secret" | "configMap" => {
            need(if name == "secret" { "secretName" } else { "name" });
            mode(source, "defaultMode", at, errors);
            items(source, at, errors);
        }
        "downwardAPI" => {
            mode(source, "defaultMode", at, errors);
            downward(source, at, errors);
        }
        "projected" => projected(source, at, errors),
        "image" => image(source, at, errors),
        "ephemeral" => ephemeral(source, at, errors),
        "csi" => csi(&Site::below(&at.to_string(), source), errors),
        "hostPath" => volume_sources::host_path(&Site::below(&at.to_string(), source), errors),
        _ => {
            let shown = if name == "gcePersistentDisk" { "persistentDisk" } else { name };
            let path = format!("{volume}.{shown}");
            volume_sources::validate(name, &Site::below(&path, source), (Holder::Pod, owner), errors);
        }
    }
}

fn csi(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    driver_name(&source.at("driver"), errors);
    let secret = source.at("nodePublishSecretRef");
    if secret.is_set() {
        let name = secret.at("name");
        match name.text() {
            "" => errors.push(name.required("")),
            text => {
                let wrong = names::dns_subdomain(text).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(source.at("name"), text, why)));
            }
        }
    }
}

fn ephemeral(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    match source.get("volumeClaimTemplate") {
        None => errors.push(FieldError::required(format!("{at}.volumeClaimTemplate"), "")),
        Some(template) => {
            let path = format!("{at}.volumeClaimTemplate");
            claim_template(&Site::below(&path, template), errors);
        }
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
        item_errors(item, format_args!("{at}.items[{i}]"), errors);
    }
}

fn item_errors(item: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    if access::text(item, &["key"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.key"), ""));
    }
    item_path(item, at, errors);
    mode(item, "mode", at, errors);
}

fn item_path(item: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let path = access::text(item, &["path"]);
    if path.is_empty() {
        errors.push(FieldError::required(format!("{at}.path"), ""));
    }
    own_path(path, format_args!("{at}.path"), errors);
}

/// Validates a relative path without `..`, which no file of the kubelet's own has.
fn own_path(path: &str, at: At<'_>, errors: &mut Vec<FieldError>) {
    local_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(FieldError::invalid(at, path, "must not start with '..'"));
    }
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
    // Upstream's paths of these errors have neither `items` nor an index.
    for item in access::list(source, &["items"]) {
        item_path(item, at, errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), resource) => {
                field_ref(field, format_args!("{at}.fieldRef"), FIELDS, errors);
                if resource.is_some() {
                    let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.push(FieldError::invalid(at, "resource", why));
                }
            }
            (None, Some(resource)) => {
                resource_ref(resource, format_args!("{at}.resourceFieldRef"), true, errors)
            }
            (None, None) => {
                errors.push(FieldError::required(at, "one of fieldRef and resourceFieldRef is required"));
            }
        }
        mode(item, "mode", at, errors);
    }
}

/// Shortest and longest lifetime of a projected token, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The files of a projected volume so far.
struct Files<'a> {
    at: At<'a>,
    paths: BTreeSet<String>,
}

impl Files<'_> {
    /// Adds a file. A conflict is reported with `shown`: the name of the object that has the second file, if any.
    fn add(&mut self, path: &str, shown: &str, errors: &mut Vec<FieldError>) {
        if !self.paths.insert(path.to_owned()) {
            errors.push(FieldError::invalid(self.at, shown, "conflicting duplicate paths"));
        }
    }
}

fn projected(source: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    mode(source, "defaultMode", at, errors);
    let mut files = Files { at, paths: BTreeSet::new() };
    for (i, part) in access::list(source, &["sources"]).iter().enumerate() {
        let part_at = format_args!("{at}.sources[{i}]");
        for key in ["secret", "configMap"] {
            let Some(reference) = part.get(key) else { continue };
            let name = access::text(reference, &["name"]);
            if name.is_empty() {
                errors.push(FieldError::required(format!("{part_at}.{key}.name"), ""));
            }
            for (j, item) in access::list(reference, &["items"]).iter().enumerate() {
                item_errors(item, format_args!("{part_at}.{key}.items[{j}]"), errors);
                let path = access::text(item, &["path"]);
                if !path.is_empty() {
                    files.add(path, name, errors);
                }
            }
        }
        if let Some(reference) = part.get("downwardAPI") {
            downward(reference, format_args!("{part_at}.downwardAPI"), errors);
            for item in access::list(reference, &["items"]) {
                let path = access::text(item, &["path"]);
                if !path.is_empty() {
                    files.add(path, path, errors);
                }
            }
        }
        if let Some(token) = part.get("serviceAccountToken") {
            token_errors(token, (at, format_args!("{part_at}.serviceAccountToken")), errors);
        }
        if let Some(bundle) = part.get("clusterTrustBundle") {
            let path = format!("{part_at}.clusterTrustBundle");
            trust_bundle(&Site::below(&path, bundle), &mut files, errors);
        }
        if let Some(certificate) = part.get("podCertificate") {
            let path = format!("{part_at}.podCertificate");
            pod_certificate(&Site::below(&path, certificate), &mut files, errors);
        }
        if part.as_object().map_or(0, serde_json::Map::len) > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(part_at, why));
        }
    }
}

/// Upstream's path of the errors of a token's file is that of the whole volume.
fn token_errors(token: &Value, (volume, at): (At<'_>, At<'_>), errors: &mut Vec<FieldError>) {
    let seconds = access::int(token, &["expirationSeconds"]).unwrap_or(TOKEN_SECONDS_MIN);
    let mut refuse = |why: &str| {
        errors.push(FieldError::invalid(format!("{at}.expirationSeconds"), seconds, why));
    };
    if seconds < TOKEN_SECONDS_MIN {
        refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        refuse("may not specify a duration larger than 2^32 seconds");
    }
    match access::text(token, &["path"]) {
        "" => errors.push(FieldError::required(format!("{volume}.path"), "")),
        path => own_path(path, format_args!("{volume}.path"), errors),
    }
}

fn trust_bundle(bundle: &Site<'_>, files: &mut Files<'_>, errors: &mut Vec<FieldError>) {
    let (name, signer, selector) = (bundle.at("name"), bundle.at("signerName"), bundle.at("labelSelector"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            let shown = bundle.value.to_string();
            let why = "only one of name and signerName may be used";
            errors.push(FieldError::invalid_shown(bundle, shown, why));
        }
        (true, false) => {
            if name.text().is_empty() {
                errors.push(name.required("must be a valid object name"));
            }
            let wrong = names::dns_subdomain(name.text()).into_iter();
            errors
                .extend(wrong.map(|why| name.invalid(format!("not a valid clustertrustbundlename: {why}"))));
            if selector.is_set() {
                errors.push(selector.invalid("labelSelector must be unset if name is specified"));
            }
        }
        (false, true) => {
            if signer.text().is_empty() {
                errors.push(signer.required("must be a valid signer name"));
            }
            signer_name(&signer, errors);
            if selector.is_set() {
                errors.extend(label_selector(selector.value, format_args!("{selector}")));
            }
        }
        (false, false) => errors.push(bundle.required("either name or signerName must be specified")),
    }
    let path = bundle.at("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    own_path(path.text(), format_args!("{path}"), errors);
    files.add(path.text(), path.text(), errors);
}

fn pod_certificate(certificate: &Site<'_>, files: &mut Files<'_>, errors: &mut Vec<FieldError>) {
    const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    /// Seconds; a certificate of a signer of Kubernetes lives a day at most.
    const LIFETIME_MIN: i64 = 3600;
    const LIFETIME_MAX: i64 = 91 * 24 * 3600;
    const KUBERNETES_LIFETIME_MAX: i64 = 24 * 3600;
    let (signer, key_type) = (certificate.at("signerName"), certificate.at("keyType"));
    signer_name(&signer, errors);
    if !KEY_TYPES.contains(&key_type.text()) {
        errors.push(key_type.not_supported(&KEY_TYPES));
    }
    let lifetime = certificate.at("maxExpirationSeconds");
    if let Some(seconds) = lifetime.int() {
        if seconds < LIFETIME_MIN {
            errors.push(lifetime.invalid("if provided, maxExpirationSeconds must be >= 3600"));
        }
        let domain = signer.text().split('/').next().unwrap_or("");
        let of_kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        let most = if of_kubernetes { KUBERNETES_LIFETIME_MAX } else { LIFETIME_MAX };
        if seconds > most {
            errors.push(lifetime.invalid(format!("if provided, maxExpirationSeconds must be <= {most}")));
        }
    }
    let members = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let paths = members.iter().filter(|member| !certificate.at(member).text().is_empty());
    if paths.clone().count() == 0 {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(certificate.required(why));
    }
    for member in paths {
        let path = certificate.at(member);
        own_path(path.text(), format_args!("{path}"), errors);
        files.add(path.text(), path.text(), errors);
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
