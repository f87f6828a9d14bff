//! The rules of the standards, one function each, and the tables that say which of them a level has since which version.
//! Reasons and details are upstream's texts.

mod identity;
mod isolation;
mod privileges;
mod profiles;

pub use isolation::SYSCTLS as SAFE_SYSCTLS;

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;

/// What a check sees of a Pod or of a template.
pub(super) struct PodParts<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

/// A violated rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}

pub(super) type CheckFn = fn(&PodParts<'_>) -> Option<Violation>;

/// A rule of a level.
pub(super) struct Check {
    pub id: &'static str,
    /// The functions, each since a minor version.
    pub versions: &'static [(u64, CheckFn)],
    /// The rule of the baseline that it replaces.
    pub replaces: Option<&'static str>,
}

const fn check(id: &'static str, versions: &'static [(u64, CheckFn)]) -> Check {
    Check { id, versions, replaces: None }
}

/// The rules of the baseline, by name.
pub(super) const BASELINE: [Check; 12] = [
    check("appArmorProfile", &[(0, profiles::app_armor)]),
    check("capabilities_baseline", &[(0, privileges::capabilities_baseline)]),
    check("hostNamespaces", &[(0, isolation::host_namespaces)]),
    check("hostPathVolumes", &[(0, isolation::host_path_volumes)]),
    check("hostPorts", &[(0, isolation::host_ports)]),
    check("hostProbesAndHostLifecycle", &[(34, isolation::host_probes)]),
    check("privileged", &[(0, privileges::privileged)]),
    check("procMount", &[(0, isolation::proc_mount), (35, isolation::proc_mount_unless_user_namespace)]),
    check("seLinuxOptions", &[(0, profiles::se_linux), (31, profiles::se_linux_with_engine)]),
    check("seccompProfile_baseline", &[(0, profiles::seccomp_annotations), (19, profiles::seccomp)]),
    check(
        "sysctls",
        &[
            (0, isolation::sysctls),
            (27, isolation::sysctls_27),
            (29, isolation::sysctls_29),
            (32, isolation::sysctls_32),
        ],
    ),
    check("windowsHostProcess", &[(0, privileges::windows_host_process)]),
];

/// The rules of the restricted level beyond the baseline, by name.
pub(super) const RESTRICTED: [Check; 7] = [
    check(
        "allowPrivilegeEscalation",
        &[(8, privileges::escalation), (25, privileges::escalation_unless_windows)],
    ),
    Check {
        id: "capabilities_restricted",
        versions: &[(22, privileges::capabilities), (25, privileges::capabilities_unless_windows)],
        replaces: Some("capabilities_baseline"),
    },
    Check {
        id: "procMount_restricted",
        versions: &[(35, isolation::proc_mount)],
        replaces: Some("procMount"),
    },
    Check {
        id: "restrictedVolumes",
        versions: &[(0, isolation::restricted_volumes)],
        replaces: Some("hostPathVolumes"),
    },
    check(
        "runAsNonRoot",
        &[(0, identity::run_as_non_root), (35, identity::run_as_non_root_unless_user_namespace)],
    ),
    check("runAsUser", &[(23, identity::run_as_user), (35, identity::run_as_user_unless_user_namespace)]),
    Check {
        id: "seccompProfile_restricted",
        versions: &[(19, profiles::seccomp_required), (25, profiles::seccomp_required_unless_windows)],
        replaces: Some("seccompProfile_baseline"),
    },
];

impl<'a> PodParts<'a> {
    /// All containers: init containers, containers, ephemeral containers.
    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| access::list(spec, &[list]))
    }

    /// The names of the containers for which `is_bad` holds.
    fn bad_containers(&self, is_bad: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(is_bad).map(name).collect()
    }

    fn is_windows(&self) -> bool {
        access::text(self.spec, &["os", "name"]) == "windows"
    }

    fn has_user_namespace(&self) -> bool {
        access::get(self.spec, &["hostUsers"]).and_then(Value::as_bool) == Some(false)
    }

    fn annotation(&self, name: &str) -> Option<&'a str> {
        access::get(self.metadata, &["annotations", name]).and_then(Value::as_str)
    }
}

fn name(container: &Value) -> &str {
    access::text(container, &["name"])
}

/// A member of a container's or the Pod's security context.
fn security<'a>(owner: &'a Value, path: &[&str]) -> Option<&'a Value> {
    access::get(owner.get("securityContext")?, path)
}

fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{item}\"")).collect();
    items.join(", ")
}

/// `one` for a single item, else `many`.
fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn containers_named(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

/// Who has set a value: the Pod, containers, or both.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    if pod {
        out.push("pod".to_owned());
    }
    if !containers.is_empty() {
        out.push(containers_named(containers));
    }
    (!out.is_empty()).then(|| out.join(" and "))
}

type Texts<'a> = BTreeSet<&'a str>;
