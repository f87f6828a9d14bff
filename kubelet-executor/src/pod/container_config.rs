//! Converts a container's spec to the CRI container configuration. Pure.

use cri::v1;
use executor_core::{admission, env::expand, resources, spec};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, PodSpec, SecurityContext,
};

use super::{paths::log_path, sandbox_config};
use crate::{config::Config, runtime::labels};

/// The inputs of a container's configuration besides its spec.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerConfigInputs {
    /// The image's id in the runtime.
    pub image_ref: String,
    pub attempt: u32,
    pub restart_count: u32,
    /// The container whose process namespace it joins, unless the Pod shares one or has the machine's.
    pub target_id: Option<String>,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    /// The node's memory, for the OOM score of Burstable Pods.
    pub memory_bytes: i64,
    pub cgroup_v2: bool,
}

/// Builds the configuration of one container.
pub(crate) fn container_config(
    config: &Config,
    pod: &Pod,
    container: &Container,
    inputs: ContainerConfigInputs,
) -> v1::ContainerConfig {
    let metadata = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let lookup =
        |name: &str| inputs.env.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let expanded =
        |list: &Option<Vec<String>>| list.iter().flatten().map(|word| expand(word, lookup)).collect();
    let labels = [
        (labels::POD_NAME, text(&metadata.name)),
        (labels::POD_NAMESPACE, text(&metadata.namespace)),
        (labels::POD_UID, text(&metadata.uid)),
        (labels::CONTAINER_NAME, container.name.clone()),
        (labels::NODE_TAG, config.tag()),
    ];
    let annotations = [
        (labels::RESTART_COUNT, inputs.restart_count.to_string()),
        (labels::HASH, spec::container_hash(container)),
        (labels::TERMINATION_PATH, termination_path(container).to_owned()),
        (
            labels::TERMINATION_POLICY,
            container.termination_message_policy.clone().unwrap_or("File".to_owned()),
        ),
    ];
    let owned = |(key, value): (&str, String)| (key.to_owned(), value);
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(v1::ImageSpec {
            image: inputs.image_ref.clone(),
            user_specified_image: text(&container.image),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: text(&container.working_dir),
        log_path: log_path(&container.name, inputs.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        labels: labels.into_iter().map(owned).collect(),
        annotations: annotations.into_iter().map(owned).collect(),
        linux: Some(linux(pod, container, &inputs)),
        envs: inputs.env.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: inputs.mounts,
    }
}

/// The path of the termination message in the container.
pub(crate) fn termination_path(container: &Container) -> &str {
    container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/dev/termination-log")
}

fn linux(pod: &Pod, container: &Container, inputs: &ContainerConfigInputs) -> v1::LinuxContainerConfig {
    let limits = resources::limits(pod, container, inputs.memory_bytes);
    let mut unified = std::collections::BTreeMap::new();
    if inputs.cgroup_v2 && limits.memory_bytes > 0 {
        // A container that exceeds its memory limit is killed as a whole, not process by process.
        unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    v1::LinuxContainerConfig {
        resources: Some(v1::LinuxContainerResources {
            cpu_period: resources::CPU_PERIOD_US,
            cpu_quota: limits.cpu_quota_us,
            cpu_shares: limits.cpu_shares,
            memory_limit_in_bytes: limits.memory_bytes,
            oom_score_adj: limits.oom_score_adj,
            unified,
            ..Default::default()
        }),
        security_context: Some(security(pod, container, inputs.target_id.as_deref())),
    }
}

fn security(pod: &Pod, container: &Container, target_id: Option<&str>) -> v1::LinuxContainerSecurityContext {
    let pod_spec = spec::spec(pod);
    let of_pod: PodSecurityContext = pod_spec.security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let run_as_group = own.run_as_group.or(of_pod.run_as_group);
    let int = |value: i64| v1::Int64Value { value };
    let groups = of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group);
    let capabilities = own.capabilities.map(|capabilities| v1::Capability {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        ..Default::default()
    });
    v1::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespaces(pod_spec, target_id)),
        run_as_user: run_as_user.map(int),
        // A group without a user is the group of root; the runtime needs both.
        run_as_group: run_as_user.and(run_as_group).map(int),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups.collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: Some(if privileged {
            sandbox_config::seccomp(None)
        } else {
            sandbox_config::seccomp(profile)
        }),
        apparmor: admission::apparmor_profile(pod, container).map(|profile| apparmor(&profile)),
        masked_paths: if privileged || own.proc_mount.as_deref() == Some("Unmasked") {
            Vec::new()
        } else {
            MASKED.map(str::to_owned).to_vec()
        },
        readonly_paths: if privileged { Vec::new() } else { READ_ONLY.map(str::to_owned).to_vec() },
        ..Default::default()
    }
}

/// The namespaces of a container: those of its sandbox, and the process namespace of its target.
fn namespaces(pod_spec: &PodSpec, target_id: Option<&str>) -> v1::NamespaceOption {
    let of_sandbox = sandbox_config::namespaces(pod_spec);
    match target_id {
        Some(id) if of_sandbox.pid == v1::NamespaceMode::Container as i32 => v1::NamespaceOption {
            pid: v1::NamespaceMode::Target as i32,
            target_id: id.to_owned(),
            ..of_sandbox
        },
        _ => of_sandbox,
    }
}

/// Converts an AppArmor profile. A profile that is not loaded makes the creation of the container fail.
fn apparmor(profile: &AppArmorProfile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => RuntimeDefault,
        "Localhost" => Localhost,
        _ => Unconfined,
    };
    let localhost_ref = profile.localhost_profile.clone().filter(|_| kind == Localhost).unwrap_or_default();
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

/// Kernel files that are hidden from containers.
pub(crate) const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
/// Kernel files that containers cannot write.
pub(crate) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_gives_its_process_namespace_unless_the_pod_shares_one() {
        let pid = |spec: serde_json::Value, target: Option<&str>| {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let options = namespaces(&spec, target);
            let mode = v1::NamespaceMode::try_from(options.pid).unwrap();
            (mode.as_str_name(), options.target_id)
        };
        let none = || json!({ "containers": [] });
        assert_eq!(pid(none(), None), ("CONTAINER", String::new()));
        assert_eq!(pid(none(), Some("id")), ("TARGET", "id".to_owned()));
        let shared = json!({ "containers": [], "shareProcessNamespace": true });
        assert_eq!(pid(shared, Some("id")), ("POD", String::new()));
        assert_eq!(pid(json!({ "containers": [], "hostPID": true }), Some("id")), ("NODE", String::new()));
    }
}
