//! Rules about the user of a container.

use serde_json::Value;

use super::{PodParts, Violation, containers_named, name, security, setters, violation};

pub(super) fn run_as_non_root(pod: &PodParts<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let of = |owner: &Value| security(owner, &["runAsNonRoot"]).and_then(Value::as_bool);
    let own = of(pod.spec);
    let explicit = pod.bad_containers(|c| of(c) == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit: Vec<&str> = pod.containers().filter(|c| of(c).or(own) != Some(true)).map(name).collect();
    match implicit.is_empty() {
        true => None,
        false => {
            let who = containers_named(&implicit);
            violation(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
        }
    }
}

/// A root of a user namespace is no root of the node.
pub(super) fn run_as_non_root_unless_user_namespace(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { run_as_non_root(pod) }
}

pub(super) fn run_as_user(pod: &PodParts<'_>) -> Option<Violation> {
    let is_root = |owner: &Value| security(owner, &["runAsUser"]).and_then(Value::as_i64) == Some(0);
    let who = setters(is_root(pod.spec), &pod.bad_containers(|c| is_root(c)))?;
    violation("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn run_as_user_unless_user_namespace(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { run_as_user(pod) }
}
