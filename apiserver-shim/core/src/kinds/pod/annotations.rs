//! Validation of the annotations of Pods that mean something: deprecated security profiles, mirror Pods, the cost of a
//! deletion.

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use crate::kernel_resources::REVOCABLE_ANNOTATION;

const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Whether this Pod shows a static Pod of a node.
pub(super) fn is_mirror(pod: &Value) -> bool {
    access::get(pod, &["metadata", "annotations", MIRROR]).is_some()
}

/// The containers of a Pod, each with its path.
fn containers(pod: &Value) -> impl Iterator<Item = (String, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| {
        let all = access::list(pod, &["spec", list]).iter().enumerate();
        all.map(move |(i, container)| (format!("spec.{list}[{i}]"), container))
    })
}

fn annotations(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = access::entries(pod, &["metadata", "annotations"]);
    all.filter_map(|(key, value)| Some((key, value.as_str()?)))
}

fn at(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Validates the annotations of a Pod.
pub(super) fn validate(pod: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in annotations(pod) {
        if let Some(container) = key.strip_prefix(APPARMOR) {
            if !containers(pod).any(|(_, other)| access::text(other, &["name"]) == container) {
                errors.push(FieldError::invalid(at(key), container, "container not found"));
            }
            if !matches!(value, "" | "runtime/default" | "unconfined") && !value.starts_with("localhost/") {
                let detail = format!("invalid AppArmor profile name: {}", Value::from(value));
                errors.push(FieldError::invalid(at(key), value, detail));
            }
        } else if key == SECCOMP_OF_POD || key.starts_with(SECCOMP) {
            seccomp(key, value, errors);
        } else if key == MIRROR && access::text(pod, &["spec", "nodeName"]).is_empty() {
            let detail = "must set spec.nodeName if mirror pod annotation is set";
            errors.push(FieldError::invalid(at(key), value, detail));
        } else if key == DELETION_COST && !is_cost(value) {
            errors.push(FieldError::invalid(at(key), value, "must be a 32bit integer"));
        }
    }
}

/// Whether this is an integer as upstream reads it: without a plus sign and leading zeros.
fn is_cost(text: &str) -> bool {
    let plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    plain && text.parse::<i32>().is_ok()
}

fn seccomp(key: &str, value: &str, errors: &mut Vec<FieldError>) {
    // Upstream joins the key to the path like a field's name.
    let at = format!("metadata.annotations.{key}");
    match value.strip_prefix("localhost/") {
        _ if matches!(value, "runtime/default" | "docker/default" | "unconfined") => {}
        Some(path) if path.starts_with('/') => {
            errors.push(FieldError::invalid(at, path, "must be a relative path"));
        }
        Some(path) if path.split('/').any(|part| part == "..") => {
            errors.push(FieldError::invalid(at, path, "must not contain '..'"));
        }
        Some(_) => {}
        None => errors.push(FieldError::invalid(at, value, "must be a valid seccomp profile")),
    }
}

/// Validates that annotations and fields of a new Pod name the same profiles.
pub(super) fn validate_profiles(pod: &Value, errors: &mut Vec<FieldError>) {
    let annotation = |key: &str| annotations(pod).find(|(name, _)| *name == key).map(|(_, value)| value);
    let of_pod = |field| access::get(pod, &["spec", "securityContext", field]);
    if let (Some(profile), Some(value)) = (of_pod("seccompProfile"), annotation(SECCOMP_OF_POD)) {
        matches(profile, value, "seccomp", "spec.securityContext.seccompProfile", errors);
    }
    let linux = access::text(pod, &["spec", "os", "name"]) != "windows";
    for (path, container) in containers(pod) {
        let name = access::text(container, &["name"]);
        let own = |field| access::get(container, &["securityContext", field]);
        if let (Some(profile), Some(value)) = (own("seccompProfile"), annotation(&format!("{SECCOMP}{name}")))
        {
            matches(profile, value, "seccomp", &format!("{path}.securityContext.seccompProfile"), errors);
        }
        let profile = own("appArmorProfile").or_else(|| of_pod("appArmorProfile")).filter(|_| linux);
        if let (Some(profile), Some(value)) = (profile, annotation(&format!("{APPARMOR}{name}"))) {
            matches(profile, value, "apparmor", &format!("{path}.securityContext.appArmorProfile"), errors);
        }
    }
}

fn matches(profile: &Value, annotation: &str, noun: &str, at: &str, errors: &mut Vec<FieldError>) {
    let local = annotation.strip_prefix("localhost/");
    let same_type = match access::text(profile, &["type"]) {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (noun == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => local.is_some(),
        _ => return,
    };
    if !same_type {
        let detail = format!("{noun} type in annotation and field must match");
        errors.push(FieldError::forbidden(format!("{at}.type"), detail));
    } else if local.is_some_and(|local| local != access::text(profile, &["localhostProfile"])) {
        let detail = format!("{noun} profile in annotation and field must match");
        errors.push(FieldError::forbidden(format!("{at}.localhostProfile"), detail));
    }
}

/// Validates a change of the annotations: what the node has carried out stays.
pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if access::get(new, &["metadata", "annotations"]) == access::get(old, &["metadata", "annotations"]) {
        return;
    }
    let fixed = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        REVOCABLE_ANNOTATION => Some("the annotation of revocable resources"),
        _ if key.starts_with(APPARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, value) in annotations(old) {
        if let Some(what) = fixed(key)
            && !annotations(new).any(|other| other == (key, value))
        {
            errors.push(FieldError::forbidden(at(key), format!("may not remove or update {what}")));
        }
    }
    for (key, _) in annotations(new) {
        if let Some(what) = fixed(key)
            && !annotations(old).any(|(other, _)| other == key)
        {
            errors.push(FieldError::forbidden(at(key), format!("may not add {what}")));
        }
    }
    validate(new, errors);
}
