//! Validation of security contexts, and of fields that depend on the operating system.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shim_model::access::{self, Members};
use shim_model::field::{At, FieldError};

use super::volumes::local_path;
use super::windows;

/// Validates the Pod's security context.
pub(super) fn validate_pod(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let at = format_args!("{field}.securityContext");
    let Some(context) = spec.get("securityContext") else { return };
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context, key, at, errors);
    }
    for (i, group) in access::list(context, &["supplementalGroups"]).iter().enumerate() {
        if group.as_i64().is_some_and(|g| !ID.contains(&g)) {
            errors.push(FieldError::invalid(
                format!("{at}.supplementalGroups[{i}]"),
                group.clone(),
                ID_DETAIL,
            ));
        }
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(format!("{field}.shareProcessNamespace"), true, detail));
    }
    const POLICIES: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ];
    for (key, policies) in POLICIES {
        let policy = context.get(key).and_then(Value::as_str);
        if let Some(policy) = policy.filter(|policy| !policies.contains(policy)) {
            errors.push(FieldError::not_supported(format!("{at}.{key}"), policy, policies));
        }
    }
    sysctls(spec, access::list(context, &["sysctls"]), format_args!("{at}.sysctls"), errors);
    profiles(context, at, errors);
    windows::options(context.get("windowsOptions"), format_args!("{at}.windowsOptions"), errors);
}

const SYSCTL_LENGTH_MAX: usize = 253;

/// Whether this is a sysctl's name: words, separated by dots or slashes.
fn is_sysctl_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let word = |word: &str| {
        word.starts_with(edge)
            && word.ends_with(edge)
            && word.chars().all(|c| edge(c) || c == '-' || c == '_')
    };
    name.len() <= SYSCTL_LENGTH_MAX && name.split(['.', '/']).all(word)
}

fn sysctls(spec: &Members<'_>, sysctls: &[Value], at: At<'_>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let (at, name) = (format!("{at}[{i}].name"), access::text(sysctl, &["name"]));
        if name.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl_name(name) {
            let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let detail = format!(
                "must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^({segment}[\\./])*{segment}$"
            );
            errors.push(FieldError::invalid(&at, name, detail));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at, name));
        }
        // The host's namespaces are not the Pod's to change.
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix))
            || dotted == "kernel.sem";
        for (flag, theirs) in [("hostNetwork", dotted.starts_with("net.")), ("hostIPC", ipc)] {
            if theirs && spec.flag(flag) {
                errors.push(FieldError::invalid(
                    &at,
                    name,
                    format!("may not be specified when '{flag}' is true"),
                ));
            }
        }
    }
}

const ID: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
const ID_DETAIL: &str = "must be between 0 and 2147483647, inclusive";

fn id(context: &Value, key: &str, at: At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(n) = access::int(context, &[key]).filter(|n| !ID.contains(n)) {
        errors.push(FieldError::invalid(format!("{at}.{key}"), n, ID_DETAIL));
    }
}

fn profiles(context: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(profile) = context.get("seccompProfile") {
        seccomp_profile(profile, format_args!("{at}.seccompProfile"), errors);
    }
    if let Some(profile) = context.get("appArmorProfile") {
        apparmor_profile(profile, format_args!("{at}.appArmorProfile"), errors);
    }
}

const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp_profile(profile: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let (kind, local) = (access::text(profile, &["type"]), profile.get("localhostProfile"));
    profile_type(kind, "seccompProfile", at, errors);
    let at = format_args!("{at}.localhostProfile");
    match (kind, local) {
        ("Localhost", None) => {
            errors.push(FieldError::required(at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(path)) => local_path(path.as_str().unwrap_or(""), at, errors),
        (_, Some(path)) => {
            let shown = format!("{{\"Type\":{},\"LocalhostProfile\":{path}}}", Value::from(kind));
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid_shown(at, shown, detail));
        }
        (_, None) => {}
    }
}

/// The longest path, without its end.
const APPARMOR_PROFILE_BYTES_MAX: usize = 4095;

fn apparmor_profile(profile: &Value, at: At<'_>, errors: &mut Vec<FieldError>) {
    let (kind, local) = (access::text(profile, &["type"]), profile.get("localhostProfile"));
    profile_type(kind, "appArmorProfile", at, errors);
    let at = format_args!("{at}.localhostProfile");
    match (kind, local.map(|name| name.as_str().unwrap_or(""))) {
        ("Localhost", name) => {
            let name = name.unwrap_or("");
            if name.trim() != name {
                errors.push(FieldError::invalid(at, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(FieldError::required(at, "must be set when AppArmor type is Localhost"));
            }
            if name.len() > APPARMOR_PROFILE_BYTES_MAX {
                errors.push(FieldError::too_long(at, APPARMOR_PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(FieldError::invalid(at, name, "can only be set when AppArmor type is Localhost"));
        }
        _ => {}
    }
}

fn profile_type(kind: &str, field: &str, at: At<'_>, errors: &mut Vec<FieldError>) {
    let at = format_args!("{at}.type");
    if kind.is_empty() {
        errors.push(FieldError::required(at, format!("type is required when {field} is set")));
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(at, kind, PROFILE_TYPES));
    }
}

/// Whether the Pod's users are the node's.
pub(super) fn has_host_users(spec: &Members<'_>) -> bool {
    spec.get("hostUsers").and_then(Value::as_bool) != Some(false)
}

/// A user namespace excludes the node's other namespaces. Two of the paths are upstream's slips.
pub(super) fn validate_host_users(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    if has_host_users(spec) {
        return;
    }
    for (key, name) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(key) {
            let detail = "when `hostUsers` is false";
            errors.push(FieldError::forbidden(format!("{field}.{name}"), detail));
        }
    }
}

/// Validates a container's security context.
pub(super) fn validate_container(
    container: &Members<'_>,
    at: At<'_>,
    host_users: bool,
    errors: &mut Vec<FieldError>,
) {
    let at = format_args!("{at}.securityContext");
    let Some(context) = container.get("securityContext") else { return };
    id(context, "runAsUser", at, errors);
    id(context, "runAsGroup", at, errors);
    match context.get("procMount").and_then(Value::as_str) {
        Some("Unmasked") if host_users => {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(format!("{at}.procMount"), "Unmasked", detail));
        }
        None | Some("Default" | "Unmasked") => {}
        Some(other) => {
            errors.push(FieldError::not_supported(
                format!("{at}.procMount"),
                other,
                &["Default", "Unmasked"],
            ));
        }
    }
    profiles(context, at, errors);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let mut refuse = |detail: &str| errors.push(FieldError::invalid_shown(at, shown(context), detail));
        if access::flag(context, &["privileged"]) {
            refuse("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if access::list(context, &["capabilities", "add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            refuse("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    windows::options(context.get("windowsOptions"), format_args!("{at}.windowsOptions"), errors);
}

/// Prints a security context like upstream's Go type.
fn shown(context: &Value) -> String {
    const MEMBERS: [(&str, &str); 12] = [
        ("Capabilities", "capabilities"),
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ];
    let none = Value::Object(Map::new());
    let printed = MEMBERS.map(|(name, key)| match context.get(key) {
        Some(capabilities) if key == "capabilities" => {
            let of = |key: &str| capabilities.get(key).unwrap_or(&Value::Null);
            format!("\"{name}\":{{\"Add\":{},\"Drop\":{}}}", of("add"), of("drop"))
        }
        Some(value) if *value != none => format!("\"{name}\":{value}"),
        _ => format!("\"{name}\":null"),
    });
    format!("{{{}}}", printed.join(","))
}

const DETAIL: &str = "cannot be set for a windows pod";

/// Validates that a Pod for Windows sets no Linux fields, and vice versa.
pub(super) fn validate_os(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let os = spec.get("os").map_or("", |os| access::text(os, &["name"]));
    match os {
        "windows" => windows(spec, field, errors),
        "linux" => linux(spec, field, errors),
        "" if spec.get("os").is_some() => errors.push(FieldError::required(format!("{field}.os.name"), "")),
        "" => {}
        other => errors.push(FieldError::not_supported(format!("{field}.os"), other, &["linux", "windows"])),
    }
}

fn linux(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let mut refuse = |context: Option<&Value>, at: At<'_>| {
        if context
            .is_some_and(|context| context.get("windowsOptions").is_some_and(|options| !options.is_null()))
        {
            let detail = "windows options cannot be set for a linux pod";
            errors.push(FieldError::forbidden(format!("{at}.securityContext.windowsOptions"), detail));
        }
    };
    refuse(spec.get("securityContext"), field);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            refuse(container.get("securityContext"), format_args!("{field}.{list}[{i}]"));
        }
    }
}

fn windows(spec: &Members<'_>, field: At<'_>, errors: &mut Vec<FieldError>) {
    let pod: [&[&str]; 16] = [
        &["securityContext", "appArmorProfile"],
        &["securityContext", "seLinuxOptions"],
        &["hostUsers"],
        &["hostPID"],
        &["hostIPC"],
        &["securityContext", "seccompProfile"],
        &["securityContext", "fsGroup"],
        &["securityContext", "fsGroupChangePolicy"],
        &["securityContext", "sysctls"],
        &["shareProcessNamespace"],
        &["securityContext", "runAsUser"],
        &["securityContext", "runAsGroup"],
        &["securityContext", "supplementalGroups"],
        &["securityContext", "supplementalGroupsPolicy"],
        &["securityContext", "seLinuxChangePolicy"],
        &["resources"],
    ];
    let mut refuse = |found: Option<&Value>, at: At<'_>, path: &[&str]| {
        if found.is_some_and(|v| !v.is_null()) {
            errors.push(FieldError::forbidden(format!("{at}.{}", path.join(".")), DETAIL));
        }
    };
    for path in pod {
        refuse(spec.get(path[0]).and_then(|found| access::get(found, &path[1..])), field, path);
    }
    const CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            let at = format_args!("{field}.{list}[{i}]");
            for key in CONTAINER {
                let path = ["securityContext", key];
                refuse(access::get(container, &path), at, &path);
            }
        }
    }
}
