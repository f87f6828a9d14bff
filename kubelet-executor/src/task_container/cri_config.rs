//! Converts a task's container to the CRI configurations of its sandbox and of itself. Pure.

use cri::v1;
use executor_core::resources::CPU_PERIOD_US;

use super::{Directory, Files, Limits, Mount, Program, TaskContainer, described::ImageConfig, group, labels};
use crate::{
    config::Config,
    pod::{
        container_config::{MASKED, READ_ONLY},
        sandbox_config::{Resolver, seccomp},
    },
};

/// The namespace of tasks' sandboxes, which the runtime shows beside those of Pods.
const NAMESPACE: &str = "mesos";
/// The longest host name, as Linux has it.
const HOSTNAME_MAX: usize = 63;

/// The sandbox of a container.
pub(super) fn sandbox(
    config: &Config,
    container: &TaskContainer,
    resolver: &Resolver,
) -> v1::PodSandboxConfig {
    let id = &container.id;
    let hostname = || id.chars().take(HOSTNAME_MAX).collect();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: id.clone(),
            uid: id.clone(),
            namespace: NAMESPACE.to_owned(),
            attempt: 0,
        }),
        hostname: if container.ports.is_none() { String::new() } else { hostname() },
        log_directory: Files::of(config, id).directory.display().to_string(),
        dns_config: Some(v1::DnsConfig {
            // The resolver library reads at most three servers.
            servers: resolver.servers.iter().take(3).cloned().collect(),
            searches: resolver.searches.clone(),
            options: resolver.options.clone(),
        }),
        port_mappings: container.ports.iter().flatten().map(port_mapping).collect(),
        labels: own_labels(config, id),
        annotations: Default::default(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: group(config, id),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(container)),
                seccomp: Some(seccomp(None)),
                ..Default::default()
            }),
            ..Default::default()
        }),
    }
}

/// The labels of a sandbox and its container.
fn own_labels(config: &Config, id: &str) -> std::collections::BTreeMap<String, String> {
    [(labels::CONTAINER, id.to_owned()), (labels::NODE, config.tag())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

fn port_mapping(port: &super::Port) -> v1::PortMapping {
    let protocol = if port.udp { v1::Protocol::Udp } else { v1::Protocol::Tcp };
    v1::PortMapping {
        protocol: protocol as i32,
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: String::new(),
    }
}

fn namespaces(container: &TaskContainer) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod};
    v1::NamespaceOption {
        network: if container.ports.is_none() { Node } else { Pod } as i32,
        pid: Container as i32,
        ipc: Pod as i32,
        target_id: String::new(),
    }
}

/// The container itself.
pub(super) fn container(
    config: &Config,
    container: &TaskContainer,
    image_ref: &str,
    image: &ImageConfig,
) -> v1::ContainerConfig {
    let (command, args) = program(&container.program, image);
    let sandbox = &container.sandbox;
    let working_dir = match &container.directory {
        Directory::Path(path) => path.clone(),
        Directory::ImageOrSandbox if image.directory.is_empty() => {
            sandbox.container_path.display().to_string()
        }
        Directory::Image | Directory::ImageOrSandbox => String::new(),
    };
    let envs = container.environment.iter();
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "task".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec {
            image: image_ref.to_owned(),
            user_specified_image: container.image.clone(),
            ..Default::default()
        }),
        command,
        args,
        working_dir,
        log_path: Files::LOG.to_owned(),
        labels: own_labels(config, &container.id),
        envs: envs.map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: std::iter::once(sandbox).chain(&container.mounts).map(mount).collect(),
        linux: Some(v1::LinuxContainerConfig {
            resources: container.limits.map(resources),
            security_context: Some(security(container)),
        }),
        ..Default::default()
    }
}

/// Command and arguments. The runtime puts the image's own where there are none, as docker does.
fn program(program: &Program, image: &ImageConfig) -> (Vec<String>, Vec<String>) {
    match program {
        Program::Own(words) => (words.clone(), Vec::new()),
        Program::Entrypoint(arguments) => (Vec::new(), arguments.clone()),
        Program::Image(arguments) => match image.arguments.first() {
            Some(first) if image.entrypoint.is_empty() && !arguments.is_empty() => {
                (vec![first.clone()], arguments.clone())
            }
            _ => (Vec::new(), arguments.clone()),
        },
    }
}

fn mount(from: &Mount) -> v1::Mount {
    v1::Mount {
        container_path: from.container_path.display().to_string(),
        host_path: from.host_path.display().to_string(),
        readonly: from.read_only,
        ..Default::default()
    }
}

/// Limits in the form of the runtime.
pub(super) fn resources(limits: Limits) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory_bytes,
        ..Default::default()
    }
}

fn security(container: &TaskContainer) -> v1::LinuxContainerSecurityContext {
    let int = |value: u32| v1::Int64Value { value: value.into() };
    let user = container.user.as_ref();
    v1::LinuxContainerSecurityContext {
        namespace_options: Some(namespaces(container)),
        run_as_user: user.map(|user| int(user.uid)),
        run_as_group: user.map(|user| int(user.gid)),
        supplemental_groups: user
            .iter()
            .flat_map(|user| &user.groups)
            .map(|group| i64::from(*group))
            .collect(),
        // A task of another user than root does not become root by a program of its image.
        no_new_privs: user.is_some_and(|user| user.uid != 0),
        readonly_rootfs: container.read_only,
        seccomp: Some(seccomp(None)),
        masked_paths: MASKED.map(str::to_owned).to_vec(),
        readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn an_image_without_an_entrypoint_keeps_its_program_for_mesos() {
        let image = |entrypoint: &[&str]| ImageConfig {
            entrypoint: words(entrypoint),
            arguments: words(&["cmd", "x"]),
            directory: String::new(),
        };
        let table = [
            (Program::Own(words(&["p", "q"])), &[][..], (&["p", "q"][..], &[][..])),
            (Program::Entrypoint(words(&["a"])), &[], (&[], &["a"])),
            (Program::Image(words(&["a"])), &[], (&["cmd"], &["a"])),
            (Program::Image(words(&["a"])), &["/e"], (&[], &["a"])),
            (Program::Image(Vec::new()), &[], (&[], &[])),
        ];
        for (given, entrypoint, (command, arguments)) in table {
            assert_eq!(program(&given, &image(entrypoint)), (words(command), words(arguments)), "{given:?}");
        }
    }
}
