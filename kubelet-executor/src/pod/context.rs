//! State shared by all parts of the executor.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use executor_core::{admission::NodeCapabilities, disk_pressure::Thresholds, field, spec, sysctl};
use k8s_openapi::api::core::v1::Pod;
use kernel_model::{agent::AgentInfo, executor::ExecutorInfo, resources::Resources};
use tokio::sync::{Notify, watch};

use crate::{
    api::{Api, events::Recorder},
    config::Config,
    metrics::Metrics,
    pod::{ledger::Ledger, sandbox_config::Resolver, task_resources::TaskResources},
    runtime::{Runtime, containerd::RuntimeState},
};

pub(crate) struct NodeContext {
    pub config: Arc<Config>,
    /// The address of Pods on the host network.
    pub host_ip: String,
    pub tag: String,
    pub runtime: Arc<dyn Runtime>,
    pub runtime_state: watch::Receiver<RuntimeState>,
    pub api: Arc<dyn Api>,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    pub resolver: Resolver,
    pub capacity: MachineCapacity,
    /// What Pods may use, as the agent has told; nothing before the first subscription.
    pub allocatable: Mutex<Option<Allocatable>>,
    /// Whether the disk of the node's directory is almost full.
    pub disk_pressure: watch::Sender<bool>,
    /// What the Pods have been allocated.
    pub ledger: Ledger,
    /// What the kernel has on record for their tasks.
    pub task_resources: TaskResources,
    /// Held while an image is mounted for a Pod.
    pub image_mounts: tokio::sync::Mutex<()>,
    /// What Pods may ask for.
    pub capabilities: NodeCapabilities,
    /// Triggers a listing.
    pub relist: Notify,
    /// The longest grace period of a node stop; set before `stopping` is cancelled.
    pub stop_grace_max: OnceLock<Option<std::time::Duration>>,
    /// Cancelled once when the node stops: nothing is started from then on.
    pub stopping: tokio_util::sync::CancellationToken,
}

/// The capacity of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MachineCapacity {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    /// Of the file system with volumes, logs and images.
    pub disk_bytes: i64,
    pub cgroup_v2: bool,
}

impl MachineCapacity {
    /// Reads it from the kernel.
    pub fn measure(root_dir: &std::path::Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total_kib: i64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
            .unwrap_or(0);
        Self {
            cpu_milli: i64::try_from(cpus).unwrap_or(1) * 1000,
            memory_bytes: total_kib * 1024,
            disk_bytes: rustix::fs::statvfs(root_dir)
                .map_or(0, |fs| i64::try_from(fs.f_blocks.saturating_mul(fs.f_frsize)).unwrap_or(i64::MAX)),
            cgroup_v2: crate::machine::cgroups::Version::of_machine() == crate::machine::cgroups::Version::V2,
        }
    }
}

/// The resources of the node that Pods may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocatable {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
}

impl Allocatable {
    /// The agent's resources without the executor's own share.
    pub fn of(agent: &Resources, executor: &Resources) -> Self {
        let left = |name| agent.scalar(name).0.saturating_sub(executor.scalar(name).0).max(0);
        // Scalars are in thousandths, here of CPUs and MiB.
        let bytes = |name| i64::try_from(i128::from(left(name)) * (1 << 20) / 1000).unwrap_or(i64::MAX);
        Self { cpu_milli: left("cpus"), memory_bytes: bytes("mem"), disk_bytes: bytes("disk") }
    }
}

/// When the node's disk is almost full.
pub(crate) fn disk_thresholds(config: &Config) -> Thresholds {
    let Some(text) = &config.eviction_hard else { return Thresholds::default() };
    text.parse().unwrap_or_else(|error| {
        tracing::warn!(%error, "using the default thresholds of the disk");
        Thresholds::default()
    })
}

/// What the node allows by its configuration, and what the kernel can enforce.
pub(crate) fn capabilities(config: &Config) -> NodeCapabilities {
    let parse = |text: &String| match sysctl::Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            tracing::warn!(%error, "ignoring a pattern of allowed sysctls");
            None
        }
    };
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    NodeCapabilities {
        allowed_unsafe_sysctls: config.allowed_unsafe_sysctls.iter().filter_map(parse).collect(),
        apparmor: enabled.starts_with('Y'),
    }
}

impl NodeContext {
    /// The node's values for the downward API.
    pub fn node(&self, pod_ips: Vec<String>) -> field::Node {
        let MachineCapacity { cpu_milli, memory_bytes, disk_bytes, .. } = self.capacity;
        let known = *self.allocatable.lock().unwrap_or_else(PoisonError::into_inner);
        let allocatable = known.unwrap_or(Allocatable { cpu_milli, memory_bytes, disk_bytes });
        field::Node {
            name: self.config.node_name.clone(),
            ip: self.host_ip.clone(),
            pod_ips,
            cpu_milli: allocatable.cpu_milli,
            memory_bytes: allocatable.memory_bytes,
            disk_bytes: allocatable.disk_bytes,
        }
    }

    /// Takes the resources of which the agent tells at each subscription.
    pub fn subscribed(&self, agent: &AgentInfo, executor: &ExecutorInfo) {
        let allocatable = Allocatable::of(&agent.resources, &executor.resources);
        *self.allocatable.lock().unwrap_or_else(PoisonError::into_inner) = Some(allocatable);
    }

    /// A Pod's grace period when the node stops.
    pub fn stop_grace(&self, pod: &Pod) -> std::time::Duration {
        let own = spec::grace(pod);
        self.stop_grace_max.get().copied().flatten().map_or(own, |limit| own.min(limit))
    }

    /// The labels of everything of this node in the runtime.
    pub fn own_labels(&self) -> Vec<(String, String)> {
        vec![(crate::runtime::labels::NODE_TAG.to_owned(), self.tag.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_may_use_what_the_executor_does_not() {
        let agent: Resources = "cpus:4;mem:2048.5;disk:100".parse().unwrap();
        let executor: Resources = "cpus:0.1;mem:32;disk:200".parse().unwrap();
        let expected = Allocatable { cpu_milli: 3900, memory_bytes: (2016 << 20) + (1 << 19), disk_bytes: 0 };
        assert_eq!(Allocatable::of(&agent, &executor), expected);
    }
}
