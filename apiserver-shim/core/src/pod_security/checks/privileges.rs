//! Rules about privileged containers, privilege escalation and capabilities.

use serde_json::Value;
use shim_model::access;

use super::{PodParts, Texts, Violation, containers_named, name, quoted, security, setters, violation};

/// The capabilities that the baseline lets containers add: the usual default set of runtimes without NET_RAW.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn privileged(pod: &PodParts<'_>) -> Option<Violation> {
    let flag = |c: &&Value| security(c, &["privileged"]).and_then(Value::as_bool) == Some(true);
    let bad = pod.bad_containers(flag);
    if bad.is_empty() {
        return None;
    }
    violation(
        "privileged",
        format!("{} must not set securityContext.privileged=true", containers_named(&bad)),
    )
}

pub(super) fn escalation(pod: &PodParts<'_>) -> Option<Violation> {
    let path = ["allowPrivilegeEscalation"];
    let bad = pod.bad_containers(|c| security(c, &path).and_then(Value::as_bool) != Some(false));
    if bad.is_empty() {
        return None;
    }
    let who = containers_named(&bad);
    violation(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

pub(super) fn escalation_unless_windows(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { escalation(pod) }
}

fn listed<'a>(container: &'a Value, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let found = security(container, &["capabilities", list]);
    found.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The containers that add a capability that is not allowed, and these capabilities.
fn adding<'a>(pod: &PodParts<'a>, is_allowed: impl Fn(&str) -> bool) -> (Vec<&'a str>, Texts<'a>) {
    let (mut bad, mut capabilities) = (Vec::new(), Texts::new());
    for container in pod.containers() {
        let forbidden: Vec<&str> = listed(container, "add").filter(|added| !is_allowed(added)).collect();
        if !forbidden.is_empty() {
            bad.push(name(container));
            capabilities.extend(forbidden);
        }
    }
    (bad, capabilities)
}

fn must_not_add(bad: &[&str], capabilities: Texts<'_>) -> String {
    let (who, what) = (containers_named(bad), quoted(capabilities));
    format!("{who} must not include {what} in securityContext.capabilities.add")
}

pub(super) fn capabilities_baseline(pod: &PodParts<'_>) -> Option<Violation> {
    let (bad, capabilities) = adding(pod, |added| CAPABILITIES.contains(&added));
    if bad.is_empty() {
        return None;
    }
    violation("non-default capabilities", must_not_add(&bad, capabilities))
}

pub(super) fn capabilities(pod: &PodParts<'_>) -> Option<Violation> {
    let keeping = pod.bad_containers(|c| !listed(c, "drop").any(|dropped| dropped == "ALL"));
    let (bad, capabilities) = adding(pod, |added| added == "NET_BIND_SERVICE");
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers_named(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !bad.is_empty() {
        details.push(must_not_add(&bad, capabilities));
    }
    if details.is_empty() {
        return None;
    }
    violation("unrestricted capabilities", details.join("; "))
}

pub(super) fn capabilities_unless_windows(pod: &PodParts<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

pub(super) fn windows_host_process(pod: &PodParts<'_>) -> Option<Violation> {
    let is_set = |owner: &Value| {
        owner.get("securityContext").is_some_and(|c| access::flag(c, &["windowsOptions", "hostProcess"]))
    };
    let who = setters(is_set(pod.spec), &pod.bad_containers(|c| is_set(c)))?;
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
