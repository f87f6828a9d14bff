//! Whether a node accepts a Pod. What the node cannot enforce is refused: the Pod fails with upstream's reason.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, PodStatus};

use crate::{resources, spec, sysctl};

/// What the node allows and can enforce.
#[derive(Debug, Clone, Default)]
pub struct NodeCapabilities {
    /// Unsafe sysctls that the administrator allows.
    pub allowed_unsafe_sysctls: Vec<sysctl::Pattern>,
    /// Whether the kernel has AppArmor.
    pub apparmor: bool,
}

/// Why a node refuses a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// In CamelCase, of status and Event.
    pub reason: &'static str,
    /// Of the Event.
    pub message: String,
}

impl Rejection {
    /// The status of the refused Pod.
    pub fn status(&self, pod: &Pod) -> PodStatus {
        PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(self.reason.to_owned()),
            message: Some(format!("Pod was rejected: {}", self.message)),
            qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
            observed_generation: pod.metadata.generation,
            ..Default::default()
        }
    }
}

/// Checks a Pod before anything of it is started.
pub fn admit(pod: &Pod, node: &NodeCapabilities) -> Result<(), Rejection> {
    let pod_spec = spec::spec(pod);
    let sysctls = pod_spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for sysctl in sysctls {
        let (host_network, host_ipc) = (pod_spec.host_network == Some(true), pod_spec.host_ipc == Some(true));
        sysctl::check(&sysctl.name, &node.allowed_unsafe_sysctls, host_network, host_ipc).map_err(|why| {
            Rejection { reason: "SysctlForbidden", message: format!("forbidden sysctl: {why}") }
        })?;
    }
    check_os(pod)?;
    check_groups_policy(pod)?;
    check_apparmor(pod, node)
        .map_err(|why| Rejection { reason: "AppArmor", message: format!("Cannot enforce AppArmor: {why}") })
}

fn check_os(pod: &Pod) -> Result<(), Rejection> {
    match spec::spec(pod).os.as_ref().map(|os| os.name.as_str()) {
        None | Some("linux") => Ok(()),
        Some(_) => Err(Rejection {
            reason: "PodOSNotSupported",
            message: "Failed to admit pod as the OS field doesn't match node OS".to_owned(),
        }),
    }
}

/// The runtime always adds the groups that the image gives its user.
fn check_groups_policy(pod: &Pod) -> Result<(), Rejection> {
    let context = spec::spec(pod).security_context.as_ref();
    match context.and_then(|context| context.supplemental_groups_policy.as_deref()) {
        Some("Strict") => Err(Rejection {
            reason: "SupplementalGroupsPolicyNotSupported",
            message: "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Why the node cannot make the Pod's user namespace; such a Pod waits, as upstream's does.
pub fn user_namespace_refusal(pod: &Pod, handler: &str) -> Option<String> {
    let isolated = spec::spec(pod).host_users == Some(false);
    isolated.then(|| {
        let what = if handler.is_empty() {
            "runtime".to_owned()
        } else {
            format!("RuntimeClass handler {handler:?}")
        };
        format!("can't set `spec.hostUsers: false`, {what} does not support user namespaces")
    })
}

/// The AppArmor profile of a container: its own, that of the deprecated annotation, or the Pod's.
pub fn apparmor_profile(pod: &Pod, container: &Container) -> Option<AppArmorProfile> {
    let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.clone());
    let annotations = pod.metadata.annotations.as_ref();
    let annotated = || {
        let value = annotations?.get(&format!("{APPARMOR_ANNOTATION}{}", container.name))?;
        annotated_profile(value)
    };
    let of_pod = || spec::spec(pod).security_context.as_ref()?.app_armor_profile.clone();
    own.or_else(annotated).or_else(of_pod)
}

/// The prefix of deprecated annotations with the profile of a container.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

fn annotated_profile(value: &str) -> Option<AppArmorProfile> {
    let profile = |kind: &str, name: Option<&str>| AppArmorProfile {
        type_: kind.to_owned(),
        localhost_profile: name.map(str::to_owned),
    };
    match value {
        "runtime/default" => Some(profile("RuntimeDefault", None)),
        "unconfined" => Some(profile("Unconfined", None)),
        other => Some(profile("Localhost", Some(other.strip_prefix("localhost/")?))),
    }
}

fn check_apparmor(pod: &Pod, node: &NodeCapabilities) -> Result<(), String> {
    for (_, container) in spec::containers(pod) {
        let Some(profile) = apparmor_profile(pod, container).filter(|profile| profile.type_ != "Unconfined")
        else {
            continue;
        };
        if !node.apparmor {
            return Err("AppArmor is not enabled on the host".to_owned());
        }
        let name = profile.localhost_profile.as_deref().unwrap_or_default().trim();
        if profile.type_ == "Localhost" && name.is_empty() {
            return Err(format!("invalid empty AppArmor profile name: \"{name}\""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rejected(pod: serde_json::Value, node: &NodeCapabilities) -> String {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        match admit(&pod, node) {
            Ok(()) => String::new(),
            Err(rejection) => format!("{}: {}", rejection.reason, rejection.message),
        }
    }

    #[test]
    fn what_the_node_cannot_enforce_is_refused() {
        let none = NodeCapabilities::default();
        let apparmor = NodeCapabilities { apparmor: true, ..Default::default() };
        let allowing = NodeCapabilities {
            allowed_unsafe_sysctls: vec![sysctl::Pattern::parse("kernel.msg*").unwrap()],
            ..Default::default()
        };
        let sysctl = json!({ "spec": { "containers": [], "securityContext": {
            "sysctls": [{ "name": "kernel.msgmax", "value": "65536" }],
        } } });
        let profile = |kind: &str, name: &str| {
            json!({ "spec": { "containers": [{ "name": "c", "securityContext": {
                "appArmorProfile": { "type": kind, "localhostProfile": name },
            } }] } })
        };
        let annotated = json!({
            "metadata": { "annotations": { "container.apparmor.security.beta.kubernetes.io/c": "localhost/p" } },
            "spec": { "containers": [{ "name": "c" }] },
        });
        let disabled = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        let windows = json!({ "spec": { "containers": [], "os": { "name": "windows" } } });
        let strict = json!({ "spec": { "containers": [], "securityContext": { "supplementalGroupsPolicy": "Strict" } } });
        let table = [
            (windows, &none, "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"),
            (
                strict,
                &none,
                "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node",
            ),
            (sysctl.clone(), &none, "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
            (sysctl, &allowing, ""),
            (profile("Localhost", "p"), &none, disabled),
            (profile("RuntimeDefault", ""), &none, disabled),
            (profile("Unconfined", ""), &none, ""),
            (annotated, &none, disabled),
            (profile("Localhost", "p"), &apparmor, ""),
            (
                profile("Localhost", " "),
                &apparmor,
                "AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name: \"\"",
            ),
        ];
        for (pod, node, expected) in table {
            assert_eq!(rejected(pod.clone(), node), expected, "{pod}");
        }
    }

    #[test]
    fn a_refused_pod_fails_with_the_reason() {
        let rejection = Rejection { reason: "SysctlForbidden", message: "forbidden sysctl: x".to_owned() };
        let status = rejection.status(&Pod::default());
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.reason.as_deref(), Some("SysctlForbidden"));
        assert_eq!(status.message.as_deref(), Some("Pod was rejected: forbidden sysctl: x"));
    }
}
