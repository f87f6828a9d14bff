//! Accessors for a Pod's spec.

use std::{borrow::Cow, time::Duration};

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, EphemeralContainer, Pod, PodSpec};

/// The default of `terminationGracePeriodSeconds`.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The role of a container in its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next container starts.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside all later containers.
    Sidecar,
    /// An entry of `spec.containers`.
    Main,
    /// An entry of `spec.ephemeralContainers`: added to a running Pod, started once, and without part in its readiness and outcome.
    Ephemeral,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// The Pod's spec, or an empty one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The user of all containers that start with the Pod, if each has one and it is the same.
pub fn common_user(pod: &Pod) -> Option<u32> {
    let spec = spec(pod);
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let user = |container: &Container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod)
    };
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(user);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

/// The restart policy; `Always` is the default.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match spec(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// What follows the end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExitDecision {
    Stay,
    Restart,
    /// All containers of the Pod start over, init containers included.
    RestartAll,
}

/// What follows the end of a container with this exit code: its first matching rule decides, else its own restart
/// policy, else the Pod's.
pub fn after_exit(pod: &Pod, container: &Container, code: i32) -> ExitDecision {
    if container.restart_policy.is_some() {
        let rules = container.restart_policy_rules.iter().flatten();
        match rules.clone().find(|rule| matches_exit(rule, code)).map(|rule| rule.action.as_str()) {
            Some("Restart") => return ExitDecision::Restart,
            Some(RESTART_ALL) => return ExitDecision::RestartAll,
            _ => {}
        }
    }
    let restart = match container_restart_policy(pod, container) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    };
    if restart { ExitDecision::Restart } else { ExitDecision::Stay }
}

/// The action of a rule that restarts all containers.
const RESTART_ALL: &str = "RestartAllContainers";

fn matches_exit(rule: &ContainerRestartRule, code: i32) -> bool {
    let Some(exit_codes) = &rule.exit_codes else { return false };
    let listed = exit_codes.values.iter().flatten().any(|value| *value == code);
    match exit_codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// The restart policy of a container: its own, else the Pod's.
pub fn container_restart_policy(pod: &Pod, container: &Container) -> RestartPolicy {
    match container.restart_policy.as_deref() {
        Some("Always") => RestartPolicy::Always,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => restart_policy(pod),
    }
}

/// Whether a rule of some container restarts all containers.
pub fn may_restart_all(pod: &Pod) -> bool {
    containers(pod)
        .flat_map(|(_, container)| container.restart_policy_rules.iter().flatten())
        .any(|rule| rule.action == RESTART_ALL)
}

/// The Pod's termination grace period.
pub fn grace(pod: &Pod) -> Duration {
    match spec(pod).termination_grace_period_seconds {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        None => DEFAULT_GRACE,
    }
}

/// Init containers, then main containers, each with its role.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let spec = spec(pod);
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (if sidecar { Role::Sidecar } else { Role::Init }, container)
    });
    init.chain(spec.containers.iter().map(|container| (Role::Main, container)))
}

/// All containers: those of [`containers`], then the ephemeral ones, each with its role.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = (Role, Cow<'_, Container>)> {
    let others = containers(pod).map(|(role, container)| (role, Cow::Borrowed(container)));
    others.chain(ephemeral(pod).map(|container| (Role::Ephemeral, Cow::Owned(as_container(container)))))
}

/// The ephemeral containers.
fn ephemeral(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    spec(pod).ephemeral_containers.iter().flatten()
}

/// Finds a container of any role by name.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let other = containers(pod).map(|(_, container)| container).find(|container| container.name == name);
    other.map(Cow::Borrowed).or_else(|| {
        let found = ephemeral(pod).find(|container| container.name == name);
        found.map(|container| Cow::Owned(as_container(container)))
    })
}

/// The role of a container.
pub fn role(pod: &Pod, name: &str) -> Option<Role> {
    let other = containers(pod).find(|(_, container)| container.name == name).map(|(role, _)| role);
    other.or_else(|| ephemeral(pod).any(|container| container.name == name).then_some(Role::Ephemeral))
}

/// The container whose processes an ephemeral container sees.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let container = ephemeral(pod).find(|container| container.name == name)?;
    container.target_container_name.as_deref().filter(|target| !target.is_empty())
}

/// An ephemeral container has the fields of a container, and a target.
fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        target_container_name: _,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    }
}

/// Hash of the part of a container's spec whose change restarts the container. Only the image is mutable in the API.
pub fn container_hash(container: &Container) -> String {
    // FNV-1a: stable across releases, unlike the standard library's hasher.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in
        container.name.bytes().chain([0]).chain(container.image.iter().flat_map(|image| image.bytes()))
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// `name_namespace(uid)`, as in upstream's messages.
pub fn full_name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!(
        "{}_{}({})",
        metadata.name.as_deref().unwrap_or_default(),
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.uid.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_come_before_the_policies_of_container_and_pod() {
        let rule = |action: &str, operator: &str, values: &[i32]| json!({ "action": action, "exitCodes": { "operator": operator, "values": values } });
        let table = [
            ("Always", json!({ "restartPolicy": "Never" }), [(0, "Stay"), (1, "Stay")]),
            ("Never", json!({ "restartPolicy": "OnFailure" }), [(0, "Stay"), (1, "Restart")]),
            ("Never", json!({ "restartPolicy": "Always" }), [(0, "Restart"), (1, "Restart")]),
            ("OnFailure", json!({}), [(0, "Stay"), (1, "Restart")]),
            (
                "Never",
                json!({ "restartPolicy": "Never", "restartPolicyRules": [rule("Restart", "In", &[42])] }),
                [(42, "Restart"), (1, "Stay")],
            ),
            (
                "Always",
                json!({ "restartPolicy": "Never", "restartPolicyRules": [rule("Restart", "NotIn", &[0, 3])] }),
                [(1, "Restart"), (3, "Stay")],
            ),
            (
                "Never",
                json!({ "restartPolicy": "OnFailure", "restartPolicyRules": [
                    rule("RestartAllContainers", "In", &[7]), rule("Restart", "In", &[7, 0]),
                ] }),
                [(7, "RestartAll"), (0, "Restart")],
            ),
            // Without a policy of its own, a container's rules do not count.
            (
                "Never",
                json!({ "restartPolicyRules": [rule("Restart", "In", &[1])] }),
                [(1, "Stay"), (0, "Stay")],
            ),
        ];
        for (policy, mut container, expected) in table {
            container["name"] = json!("c");
            let spec = json!({ "spec": { "restartPolicy": policy, "containers": [container] } });
            let pod: Pod = serde_json::from_value(spec).unwrap();
            let container = &super::spec(&pod).containers[0];
            for (code, decision) in expected {
                assert_eq!(format!("{:?}", after_exit(&pod, container, code)), decision, "{pod:?} {code}");
            }
        }
    }

    #[test]
    fn the_user_of_all_containers_is_known_if_each_says_the_same() {
        let user = |of_pod: Option<i64>, init: &[Option<i64>], own: &[Option<i64>]| {
            let context = |user: &Option<i64>| json!({ "runAsUser": user });
            let container = |user: &Option<i64>| json!({ "name": "c", "securityContext": context(user) });
            let all = |users: &[Option<i64>]| users.iter().map(container).collect::<Vec<_>>();
            let spec = json!({ "securityContext": context(&of_pod), "initContainers": all(init), "containers": all(own) });
            common_user(&serde_json::from_value(json!({ "spec": spec })).unwrap())
        };
        assert_eq!(user(None, &[], &[Some(7), Some(7)]), Some(7));
        assert_eq!(user(Some(0), &[None], &[None]), Some(0));
        assert_eq!(user(Some(7), &[], &[None, Some(8)]), None);
        assert_eq!(user(None, &[None], &[Some(7)]), None);
        assert_eq!(user(None, &[], &[None]), None);
    }
}
