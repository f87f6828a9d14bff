//! The rules of the sources of volumes that Pods' volumes and PersistentVolumes have in common, and of those of
//! PersistentVolumes alone.

use super::rules::Site;
use shim_model::field::FieldError;
use shim_model::names;

/// What has the source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Pod,
    PersistentVolume,
}

const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";

/// Bytes of the name of a volume and its portal together, where an initiator is named.
const INITIATOR_MAX: usize = 64;
const TENANT_MAX: usize = 64;

/// The required members of sources, in upstream's order.
fn required(name: &str) -> &'static [&'static str] {
    match name {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "portworxVolume" | "cinder" => &["volumeID"],
        "glusterfs" => &["endpoints", "path"],
        "nfs" => &["server", "path"],
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        _ => &[],
    }
}

/// Validates the source called `name`. `owner` is the name of the volume.
pub(super) fn validate(
    name: &str,
    source: &Site<'_>,
    (holder, owner): (Holder, &str),
    errors: &mut Vec<FieldError>,
) {
    let missing = required(name).iter().filter(|member| source.at(member).is_zero());
    errors.extend(missing.map(|member| source.at(member).required("")));
    match name {
        "gitRepo" => local_path(&source.at("directory"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(&source.at("partition"), errors),
        "glusterfs" => endpoints_namespace(&source.at("endpointsNamespace"), errors),
        "nfs" if !source.at("path").text().starts_with('/') => {
            errors.push(FieldError::invalid(
                source.at("path"),
                source.at("path").text(),
                "must be an absolute path",
            ));
        }
        "iscsi" => iscsi(source, (holder, owner), errors),
        "flocker" => flocker(source, errors),
        "quobyte" => quobyte(source, errors),
        "fc" => fibre_channel(source, errors),
        "flexVolume" => flex_options(&source.at("options"), errors),
        "azureFile" => {
            let namespace = source.at("secretNamespace");
            if holder == Holder::PersistentVolume && namespace.is_set() && namespace.text().is_empty() {
                errors.push(namespace.required(""));
            }
        }
        "azureDisk" => azure_disk(source, errors),
        "cinder" => secret_reference(&source.at("secretRef"), holder, errors),
        "storageos" => {
            let volume = source.at("volumeName");
            match volume.text() {
                "" => errors.push(volume.required("")),
                _ => errors.extend(volume.format(names::dns_label)),
            }
            let namespace = source.at("volumeNamespace");
            if !namespace.text().is_empty() {
                errors.extend(namespace.format(names::dns_label));
            }
            secret_reference(&source.at("secretRef"), holder, errors);
        }
        _ => {}
    }
}

fn partition(partition: &Site<'_>, errors: &mut Vec<FieldError>) {
    if partition.int().is_some_and(|n| !(0..=255).contains(&n)) {
        errors.push(partition.invalid("must be between 1 and 255, inclusive"));
    }
}

fn lun(lun: &Site<'_>, errors: &mut Vec<FieldError>) {
    if lun.int().is_some_and(|n| !(0..=255).contains(&n)) {
        errors.push(lun.invalid("must be between 0 and 255, inclusive"));
    }
}

fn endpoints_namespace(namespace: &Site<'_>, errors: &mut Vec<FieldError>) {
    match namespace.text() {
        _ if !namespace.is_set() => {}
        "" => errors
            .push(namespace.invalid("if the endpointnamespace is set, it must be a valid namespace name")),
        _ => errors.extend(namespace.format(names::dns_label)),
    }
}

/// A reference to a Secret; those of PersistentVolumes name its namespace.
fn secret_reference(reference: &Site<'_>, holder: Holder, errors: &mut Vec<FieldError>) {
    if !reference.is_set() {
        return;
    }
    let members: &[&str] = if holder == Holder::Pod { &["name"] } else { &["name", "namespace"] };
    let missing = members.iter().filter(|member| reference.at(member).text().is_empty());
    errors.extend(missing.map(|member| reference.at(member).required("")));
}

fn iscsi(source: &Site<'_>, (holder, owner): (Holder, &str), errors: &mut Vec<FieldError>) {
    let (portal, iqn, initiator) = (source.at("targetPortal"), source.at("iqn"), source.at("initiatorName"));
    if portal.text().is_empty() {
        errors.push(portal.required(""));
    }
    let is_long = initiator.is_set() && owner.len() + 1 + portal.text().len() > INITIATOR_MAX;
    if is_long && holder == Holder::PersistentVolume {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.push(FieldError::invalid(source.at("targetportal"), portal.text(), why));
    }
    match iqn.text() {
        "" => errors.push(iqn.required("")),
        text => errors.extend(initiator_error(text, holder).map(|why| iqn.invalid(why))),
    }
    lun(&source.at("lun"), errors);
    let secret = source.at("secretRef");
    if (source.at("chapAuthDiscovery").flag() || source.at("chapAuthSession").flag()) && !secret.is_set() {
        errors.push(secret.required(""));
    }
    if holder == Holder::PersistentVolume && secret.is_set() && secret.at("name").text().is_empty() {
        errors.push(secret.at("name").required(""));
    }
    if initiator.is_set() {
        let why = initiator_error(initiator.text(), holder);
        let at = source.at("initiatorname");
        errors.extend(why.map(|why| FieldError::invalid(at, initiator.text(), why)));
    }
}

/// Why a text does not name an initiator or target of iSCSI.
fn initiator_error(text: &str, holder: Holder) -> Option<&'static str> {
    const INVALID: &str = "must be valid format";
    let of_length = |rest: &str, length: usize| {
        rest.chars().count() == length + 1 && rest.chars().skip(1).all(|c| c.is_ascii_alphanumeric())
    };
    let is_valid = match text.get(..3) {
        Some("iqn") => is_qualified_name(text),
        Some("eui") => of_length(&text[3..], 16),
        Some("naa") => of_length(&text[3..], 32),
        _ if holder == Holder::Pod => return Some("must be valid format starting with iqn, eui, or naa"),
        _ => false,
    };
    (!is_valid).then_some(INVALID)
}

/// `iqn.YYYY-MM.domain:name`.
fn is_qualified_name(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("iqn.") else { return false };
    let digits = |s: Option<&str>| s.is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit()));
    let dated = digits(rest.get(..4)) && rest.get(4..5) == Some("-") && digits(rest.get(5..7));
    let Some((domain, name)) =
        rest.get(7..).and_then(|rest| rest.strip_prefix('.')).and_then(|r| r.split_once(':'))
    else {
        return false;
    };
    let of_domain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let of_name = |c: char| !",;*&$|".contains(c) && !c.is_ascii_whitespace();
    dated
        && !domain.is_empty()
        && domain.bytes().all(of_domain)
        && !name.is_empty()
        && name.chars().all(of_name)
}

fn flocker(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (name, id) = (source.at("datasetName"), source.at("datasetUUID"));
    match (name.text().is_empty(), id.text().is_empty()) {
        (true, true) => errors.push(source.required("one of datasetName and datasetUUID is required")),
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(source, "resource", why));
        }
        _ => {}
    }
    if name.text().contains('/') {
        errors.push(name.invalid("must not contain '/'"));
    }
}

fn quobyte(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant, volume) = (source.at("registry"), source.at("tenant"), source.at("volume"));
    if registry.text().is_empty() {
        errors.push(registry.required(PAIRS));
    } else if tenant.text().len() > TENANT_MAX {
        errors.push(tenant.required("must be a UUID and may not exceed a length of 64 characters"));
    } else {
        let wrong = registry.text().split(',').filter(|pair| !is_host_and_port(pair));
        errors.extend(wrong.map(|_| registry.invalid(PAIRS)));
    }
    if volume.text().is_empty() {
        errors.push(volume.required(""));
    }
}

fn is_host_and_port(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .split_once("]:")
            .is_some_and(|(host, port)| !host.contains('[') && !port.contains([':', ']'])),
        None => text
            .split_once(':')
            .is_some_and(|(host, port)| !host.contains(['[', ']']) && !port.contains([':', '[', ']'])),
    }
}

fn fibre_channel(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (names, ids, unit) = (source.at("targetWWNs"), source.at("wwids"), source.at("lun"));
    if names.len() == 0 && ids.len() == 0 {
        errors.push(names.required("must specify either targetWWNs or wwids, but not both"));
    }
    if names.len() > 0 && ids.len() > 0 {
        errors.push(names.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if names.len() > 0 {
        match unit.is_set() {
            false => errors.push(unit.required("lun is required if targetWWNs is specified")),
            true => lun(&unit, errors),
        }
    }
}

fn flex_options(options: &Site<'_>, errors: &mut Vec<FieldError>) {
    for (key, option) in options.entries() {
        let domain = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(option, key, why));
        }
    }
}

fn azure_disk(source: &Site<'_>, errors: &mut Vec<FieldError>) {
    let (caching, kind, uri) = (source.at("cachingMode"), source.at("kind"), source.at("diskURI"));
    for (member, known) in
        [(&caching, ["None", "ReadOnly", "ReadWrite"]), (&kind, ["Dedicated", "Managed", "Shared"])]
    {
        if member.is_set() && !known.contains(&member.text()) {
            errors.push(member.not_supported(&known));
        }
    }
    let (prefix, shown) = match kind.text() {
        "Managed" => ("/subscriptions/", MANAGED_DISK),
        _ => ("https://", BLOB_DISK),
    };
    if kind.is_set() && !uri.text().starts_with(prefix) {
        errors.push(uri.not_supported(&[shown]));
    }
}

/// Validates the `hostPath` of a volume.
pub(super) fn host_path(source: &Site<'_>, errors: &mut Vec<FieldError>) {
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
    let (path, kind) = (source.at("path"), source.at("type"));
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    backsteps(&path, errors);
    if !TYPES.contains(&kind.text()) {
        errors.push(kind.not_supported(TYPES));
    }
}

/// Validates a relative path without `..`.
fn local_path(path: &Site<'_>, errors: &mut Vec<FieldError>) {
    if path.text().starts_with('/') {
        errors.push(path.invalid("must be a relative path"));
    }
    backsteps(path, errors);
}

/// Refuses a path with `..`.
pub(super) fn backsteps(path: &Site<'_>, errors: &mut Vec<FieldError>) {
    if path.text().split('/').any(|part| part == "..") {
        errors.push(path.invalid("must not contain '..'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn errors(name: &str, source: Value, holder: Holder) -> String {
        let mut errors = Vec::new();
        validate(name, &Site::below(name, &source), (holder, "v"), &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn sources_have_upstreams_errors() {
        for (name, source, why) in [
            (
                "nfs",
                json!({"server": "s", "path": "p"}),
                "nfs.path: Invalid value: \"p\": must be an absolute path",
            ),
            (
                "iscsi",
                json!({"targetPortal": "p", "iqn": "x", "lun": 256}),
                "iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa\niscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ),
            ("iscsi", json!({"targetPortal": "p", "iqn": "iqn.2015-02.example.com:test"}), ""),
            ("iscsi", json!({"targetPortal": "p", "iqn": "eui.0123456789ABCDEF"}), ""),
            ("flocker", json!({}), "flocker: Required value: one of datasetName and datasetUUID is required"),
            (
                "quobyte",
                json!({"registry": "a:1,b", "volume": "v"}),
                "quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
            ),
            (
                "fc",
                json!({"targetWWNs": ["a"]}),
                "fc.lun: Required value: lun is required if targetWWNs is specified",
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"x.k8s.io/y": "z"}}),
                "flexVolume.options[x.k8s.io/y]: Invalid value: \"x.k8s.io/y\": kubernetes.io and k8s.io namespaces are reserved",
            ),
            ("cinder", json!({"volumeID": "v", "secretRef": {}}), "cinder.secretRef.name: Required value"),
        ] {
            assert_eq!(errors(name, source, Holder::Pod), why, "{name}");
        }
        let of_volume =
            errors("cinder", json!({"volumeID": "v", "secretRef": {"name": "s"}}), Holder::PersistentVolume);
        assert_eq!(of_volume, "cinder.secretRef.namespace: Required value");
    }
}
