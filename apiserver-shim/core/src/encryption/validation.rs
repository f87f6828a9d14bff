//! The rules of an `EncryptionConfiguration`.

use shim_model::base64;
use shim_model::go_quote::Quoted;

use super::{Cipher, FieldError, FileEntry, FileKey, FileProvider, ResourcePattern};

/// Resources that have no API of their own.
const NO_API: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

/// What is wrong with the entries.
pub(super) fn errors(entries: &[FileEntry]) -> Vec<FieldError> {
    const ROOT: &str = "resources";
    if entries.is_empty() {
        return vec![FieldError::required(ROOT, format!("at least one {ROOT} is required"))];
    }
    let mut errors = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let (resources, providers) = (format!("{ROOT}[{at}].resources"), format!("{ROOT}[{at}].providers"));
        let names = entry.resources.as_deref().unwrap_or_default();
        if names.is_empty() {
            errors.push(FieldError::required(&resources, format!("at least one {resources} is required")));
        }
        overlaps(names, &resources, &mut errors);
        for (at, name) in names.iter().enumerate() {
            if let Some(why) = wrong_name(name) {
                errors.push(FieldError::invalid(format!("{resources}[{at}]"), name.as_str(), why));
            }
        }
        let list = entry.providers.as_deref().unwrap_or_default();
        if list.is_empty() {
            errors.push(FieldError::required(&providers, format!("at least one {providers} is required")));
        }
        for (at, one) in list.iter().enumerate() {
            provider(one, &format!("{providers}[{at}]"), &mut errors);
        }
    }
    errors
}

/// Resources that occur twice in one list, also by a wildcard.
fn overlaps(names: &[String], at: &str, errors: &mut Vec<FieldError>) {
    let patterns: Vec<ResourcePattern> = names.iter().map(|name| ResourcePattern::parse(name)).collect();
    let pairs = || {
        let others =
            |i: usize| patterns.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, other)| other);
        patterns.iter().enumerate().flat_map(move |(i, one)| others(i).map(move |other| (one, other)))
    };
    // As upstream, of equal names only the first pair is not seen as an overlap, too.
    let twice = pairs().position(|(one, other)| one == other);
    let overlap = pairs().enumerate().any(|(pair, (one, other))| {
        let any = one.resource == "*" && one.group == "*";
        Some(pair) != twice
            && (any || one.group == other.group && (one.resource == "*" || other.resource == "*"))
    });
    let quoted: Vec<String> = names.iter().map(|name| format!("{name}", name = Quoted(name))).collect();
    let shown = format!("[]string{{{}}}", quoted.join(", "));
    if twice.is_some() {
        let why = "the same resource cannot be specified multiple times";
        errors.push(FieldError::invalid_shown(at, shown.clone(), why));
    }
    if overlap {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they \
                   will be masked";
        errors.push(FieldError::invalid_shown(at, shown, why));
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    let pattern = ResourcePattern::parse(name);
    if name.to_lowercase() != name {
        Some("resource name should not contain capital letters")
    } else if name == "*" {
        Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources")
    } else if NO_API.contains(&name) {
        Some("resources which do not have REST API/s cannot be encrypted")
    } else if pattern.group == "events.k8s.io" {
        Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
        )
    } else if pattern.group == "extensions" {
        Some("'extensions' group has been removed and cannot be used for encryption")
    } else if pattern.group == "*" && pattern.resource != "*" {
        Some("encrypting the same resource across groups is not supported")
    } else {
        None
    }
}

fn provider(provider: &FileProvider, at: &str, errors: &mut Vec<FieldError>) {
    let FileProvider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let set = [aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), identity.is_some(), kms.is_some()];
    match set.iter().filter(|set| **set).count() {
        0 => {
            let why = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.push(FieldError::invalid_shown(at, "", why));
        }
        1 => {}
        _ => {
            let why = "more than one provider specified in a single element, should split into different list elements";
            errors.push(FieldError::invalid_shown(at, "", why));
        }
    }
    if kms.is_some() {
        let why = "this server has no KMS provider; use aesgcm, aescbc or secretbox";
        errors.push(FieldError::forbidden(format!("{at}.kms"), why));
    } else if let Some((cipher, list)) = provider.keys() {
        keys(cipher, list, &format!("{at}.{}.keys", cipher.field()), errors);
    }
}

fn keys(cipher: Cipher, keys: &[FileKey], at: &str, errors: &mut Vec<FieldError>) {
    if keys.is_empty() {
        errors.push(FieldError::required(at, "at least one keys is required"));
    }
    for (i, key) in keys.iter().enumerate() {
        let (name, secret) = (format!("{at}[{i}].name"), format!("{at}[{i}].secret"));
        if key.name.is_empty() {
            errors.push(FieldError::required(name, "name is a mandatory field for a key"));
        }
        if key.secret.is_empty() {
            errors.push(FieldError::required(secret, "secret is a mandatory field for a key"));
            continue;
        }
        let Some(bytes) = base64::decode(&key.secret) else {
            errors.push(FieldError::invalid(secret, "REDACTED", "secrets must be base64 encoded"));
            continue;
        };
        let lengths = cipher.key_lengths();
        if !lengths.contains(&bytes.len()) {
            let expected: Vec<String> = lengths.iter().map(ToString::to_string).collect();
            let why = format!(
                "secret is not of the expected length, got {}, expected one of [{}]",
                bytes.len(),
                expected.join(" ")
            );
            errors.push(FieldError::invalid(secret, "REDACTED", why));
        }
    }
}
