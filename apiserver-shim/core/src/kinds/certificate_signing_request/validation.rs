//! Validation of CertificateSigningRequests.

use std::collections::BTreeSet;

use super::super::rules::{Check, Rule, Site, apply};
use super::has_condition;
use serde_json::Value;
use shim_model::access;
use shim_model::base64;
use shim_model::field::FieldError;
use shim_model::names;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The shortest lifetime of a certificate, in seconds.
const SECONDS_MIN: i64 = 600;
const DOMAIN_MAX: usize = 253;
const SIGNER_MAX: usize = 571;

/// The rules of a spec.
pub(in super::super) const SPEC: &[Rule] = &[
    Rule::Code(request),
    Rule::Field("usages", &[Check::Required]),
    Rule::Code(usages),
    Rule::Code(signer),
    Rule::Field(
        "expirationSeconds",
        &[Check::AtLeast(SECONDS_MIN, "may not specify a duration less than 600 seconds (10 minutes)")],
    ),
];

fn request(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let request = spec.at("request");
    let decoded = base64::decode(request.text()).unwrap_or_default();
    if !has_block(&decoded, "CERTIFICATE REQUEST") {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        let shown = match request.text() {
            "" if !request.is_set() => Value::Null,
            text => text.into(),
        };
        errors.push(FieldError::invalid(request, shown, why));
    }
}

/// Whether a text has a PEM block of this type.
fn has_block(text: &[u8], kind: &str) -> bool {
    let text = String::from_utf8_lossy(text);
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    text.split_once(&begin).is_some_and(|(_, rest)| rest.contains(&end))
}

fn usages(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let usages = spec.at("usages");
    let unknown = usages.items().filter(|usage| !USAGES.contains(&usage.text()));
    errors.extend(unknown.map(|usage| usage.not_supported(USAGES)).collect::<Vec<_>>());
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for usage in usages.items() {
        let text = usage.value.as_str().unwrap_or("");
        if !seen.insert(text) {
            errors.push(usage.duplicate());
        }
    }
}

fn signer(spec: &Site<'_>, errors: &mut Vec<FieldError>) {
    let name = spec.at("signerName");
    match name.text() {
        "kubernetes.io/legacy-unknown" => {
            errors.push(name.invalid("the legacy signerName is not allowed via this API version"));
        }
        _ => signer_name(&name, errors),
    }
}

/// Validates the name of a signer: a domain, a slash and a path.
pub(in super::super) fn signer_name(name: &Site<'_>, errors: &mut Vec<FieldError>) {
    if name.text().is_empty() {
        return errors.push(name.required(""));
    }
    let parts: Vec<&str> = name.text().split('/').collect();
    let [domain, path] = parts[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(name, name.text(), why));
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(FieldError::too_long(name, DOMAIN_MAX));
    }
    first_wrong(name, domain, names::dns_label, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(name, domain, why));
    }
    first_wrong(name, path, names::dns_subdomain, errors);
    if name.text().len() > SIGNER_MAX {
        errors.push(FieldError::too_long(name, SIGNER_MAX));
    }
}

/// The errors of the first label of a part of a name that has any.
fn first_wrong(name: &Site<'_>, part: &str, check: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>) {
    let wrong = part.split('.').map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty());
    for (label, why) in
        wrong.into_iter().flat_map(|(label, wrong)| wrong.into_iter().map(move |why| (label, why)))
    {
        errors.push(FieldError::invalid(name, part, format!("validating label \"{label}\": {why}")));
    }
}

/// Validates a request as it is.
pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    apply(SPEC, &root.at("spec"), &mut errors);
    errors.extend(status(object));
    errors
}

/// Validates the status as it is.
pub(super) fn status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(object);
    let status = root.at("status");
    conditions(&status.at("conditions"), &mut errors);
    let certificate = status.at("certificate");
    if !certificate.text().is_empty() {
        let decoded = base64::decode(certificate.text()).unwrap_or_default();
        if !has_block(&decoded, "CERTIFICATE") {
            let why = "must contain at least one CERTIFICATE PEM block";
            errors.push(FieldError::invalid(certificate, "<certificate data>", why));
        }
    }
    errors
}

fn conditions(list: &Site<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for condition in list.items() {
        let kind = condition.value.get("type").and_then(Value::as_str).unwrap_or("");
        if kind.is_empty() {
            errors.push(condition.at("type").required(""));
        }
        let status = condition.at("status");
        let known: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if status.text().is_empty() {
            errors.push(status.required(""));
        } else if !known.contains(&status.text()) {
            errors.push(status.not_supported(known));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(list, kind, why));
        }
        if !seen.insert(kind) && !kind.is_empty() {
            errors.push(FieldError::duplicate(condition.at("type"), kind));
        }
    }
}

/// Validates which conditions an update changes, and that it keeps a certificate.
pub(super) fn change(new: &Value, old: &Value, approval: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for kind in ["Approved", "Denied", "Failed"] {
        let add = approval || kind == "Failed";
        let (now, before) = (has_condition(new, kind), has_condition(old, kind));
        let verb = match (before, now) {
            (false, true) if !add => "add",
            (true, false) => "remove",
            _ => continue,
        };
        let why = format!("updates may not {verb} a condition of type \"{kind}\"");
        errors.push(FieldError::forbidden("status.conditions", why));
    }
    let certificate = |object: &Value| access::text(object, &["status", "certificate"]).to_owned();
    let (now, before) = (certificate(new), certificate(old));
    if !before.is_empty() && now != before {
        let why = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden("status.certificate", why));
    }
    errors
}
