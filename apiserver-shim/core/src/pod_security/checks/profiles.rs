//! Rules about AppArmor, SELinux and seccomp.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;
use shim_model::go_quote::Quoted;

use super::{
    PodParts, Texts, Violation, containers_named, name, plural, quoted, security, setters, violation,
};

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn is_confined(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// The type of a profile in a security context; an absent type is empty.
fn profile<'a>(owner: &'a Value, field: &str) -> Option<&'a str> {
    Some(access::text(security(owner, &[field])?, &["type"]))
}

/// Whether the Pod has a profile that is not allowed, the containers that have one, and these profiles.
fn unconfined<'a>(pod: &PodParts<'a>, field: &str) -> (bool, Vec<&'a str>, Texts<'a>) {
    let bad = |owner: &'a Value| profile(owner, field).filter(|kind| !is_confined(kind));
    let own = bad(pod.spec);
    let containers = pod.containers().filter(|c| bad(c).is_some()).map(name).collect();
    let kinds = own.into_iter().chain(pod.containers().filter_map(bad)).collect();
    (own.is_some(), containers, kinds)
}

pub(super) fn app_armor(pod: &PodParts<'_>) -> Option<Violation> {
    let (own, containers, kinds) = unconfined(pod, "appArmorProfile");
    let allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = access::entries(pod.metadata, &["annotations"]);
    let forbidden: BTreeSet<String> = annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", Quoted(value)))
        .collect();
    let count = kinds.len() + forbidden.len();
    let who = setters(own, &containers).into_iter();
    let annotated =
        (!forbidden.is_empty()).then(|| plural("annotation", "annotations", forbidden.len()).to_owned());
    let who: Vec<String> = who.chain(annotated).collect();
    if who.is_empty() {
        return None;
    }
    let values = quoted(kinds.iter().copied().chain(forbidden.iter().map(String::as_str)));
    violation(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", count),
        format!("{} must not set AppArmor profile type to {values}", who.join(" and ")),
    )
}

pub(super) fn se_linux(pod: &PodParts<'_>) -> Option<Violation> {
    se_linux_beyond(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux_with_engine(pod: &PodParts<'_>) -> Option<Violation> {
    se_linux_beyond(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_beyond(pod: &PodParts<'_>, allowed: &[&str]) -> Option<Violation> {
    let options = |owner: &'_ Value| security(owner, &["seLinuxOptions"]).cloned();
    let text = |options: &Value, key: &str| access::text(options, &[key]).to_owned();
    let bad_type = |o: &Value| !allowed.contains(&access::text(o, &["type"]));
    let is_bad = |owner: &Value| {
        options(owner)
            .is_some_and(|o| bad_type(&o) || !text(&o, "user").is_empty() || !text(&o, "role").is_empty())
    };
    let who = setters(is_bad(pod.spec), &pod.bad_containers(|c| is_bad(c)))?;
    let all: Vec<Value> = std::iter::once(pod.spec).chain(pod.containers()).filter_map(options).collect();
    let types: BTreeSet<&str> =
        all.iter().filter(|o| bad_type(o)).map(|o| access::text(o, &["type"])).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for key in ["user", "role"] {
        if all.iter().any(|o| !text(o, key).is_empty()) {
            what.push(format!("{key} may not be set"));
        }
    }
    violation(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")),
    )
}

/// Before version 1.19, annotations had the profiles.
pub(super) fn seccomp_annotations(pod: &PodParts<'_>) -> Option<Violation> {
    let allowed = |value: &str| {
        value == "runtime/default" || value == "docker/default" || value.starts_with("localhost/")
    };
    let of_containers = pod.containers().map(|c| format!("{SECCOMP_ANNOTATION}{}", name(c)));
    let forbidden: BTreeSet<String> = std::iter::once(SECCOMP_POD_ANNOTATION.to_owned())
        .chain(of_containers)
        .filter_map(|key| {
            let value = pod.annotation(&key).filter(|value| !allowed(value))?;
            Some(format!("{key}={}", Quoted(value)))
        })
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let noun = plural("annotation", "annotations", forbidden.len());
    let all: Vec<String> = forbidden.into_iter().collect();
    violation("seccompProfile", format!("forbidden {noun} {}", all.join(", ")))
}

pub(super) fn seccomp(pod: &PodParts<'_>) -> Option<Violation> {
    let (own, containers, kinds) = unconfined(pod, "seccompProfile");
    let who = setters(own, &containers)?;
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(kinds));
    violation("seccompProfile", detail)
}

pub(super) fn seccomp_required(pod: &PodParts<'_>) -> Option<Violation> {
    if let Some(explicit) = seccomp(pod) {
        return Some(explicit);
    }
    let own = profile(pod.spec, "seccompProfile").is_some();
    let implicit = pod.bad_containers(|c| !own && profile(c, "seccompProfile").is_none());
    if implicit.is_empty() {
        return None;
    }
    let who = containers_named(&implicit);
    violation(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    )
}

pub(super) fn seccomp_required_unless_windows(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp_required(pod) }
}
