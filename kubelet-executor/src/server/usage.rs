//! Measures what the node and its Pods use: the machine and the Pods' cgroups by the kernel's files, containers by the runtime.

use std::{collections::BTreeMap, time::Duration};

use executor_core::usage::{ContainerUsage, NodeUsage, PodUsage, Usage, machine_cpu, machine_memory};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use crate::{
    machine::cgroups,
    node::pods::Pods,
    pod::{context::NodeContext, worker::PodView},
};

/// Measures now.
pub(super) async fn measure(context: &NodeContext, pods: &Pods) -> NodeUsage {
    let stats = context.runtime.stats(&context.own_labels()).await;
    let stats = stats.inspect_err(|error| tracing::warn!(%error, "cannot measure what containers use"));
    let failed = stats.is_err();
    let containers = stats.unwrap_or_default().iter().filter_map(of_container).collect();
    let (views, tag, name) = (pods.views(), context.tag.clone(), context.config.node_name.clone());
    let read = move || {
        let pods = views.iter().filter(|view| !view.running.is_empty());
        let pods = pods.map(|view| of_pod(&tag, view, &containers)).collect();
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (cpu, booted) = machine_cpu(&file("/proc/stat")).unzip();
        let (total, working_set) = machine_memory(&file("/proc/meminfo")).unzip();
        let usage = cpu.zip(working_set);
        let usage =
            usage.map(|(cpu, working_set_bytes)| Usage { at: Timestamp::now(), cpu, working_set_bytes });
        let memory_bytes = total.unwrap_or(0);
        NodeUsage { name, booted: booted.flatten(), usage, memory_bytes, pods, failed }
    };
    // Each Pod takes a few small files, which the kernel counts up when they are read.
    tokio::task::spawn_blocking(read).await.expect("reading files does not panic")
}

/// Usage by the ids of containers.
type Containers = BTreeMap<String, Usage>;

fn of_container(stats: &cri::v1::ContainerStats) -> Option<(String, Usage)> {
    let (cpu, memory) = (stats.cpu.as_ref()?, stats.memory.as_ref()?);
    let usage = Usage {
        at: Timestamp::from_nanosecond(i128::from(cpu.timestamp)).ok()?,
        cpu: Duration::from_nanos(cpu.usage_core_nano_seconds.as_ref()?.value),
        working_set_bytes: memory.working_set_bytes.as_ref()?.value,
    };
    Some((stats.attributes.as_ref()?.id.clone(), usage))
}

fn of_pod(tag: &str, view: &PodView, containers: &Containers) -> PodUsage {
    let metadata = &view.pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let group = cgroups::pod_group(tag, &view.pod);
    let usage = cgroups::usage(&group).map(|used| Usage {
        at: Timestamp::now(),
        cpu: Duration::try_from_secs_f64(used.cpu_seconds).unwrap_or_default(),
        working_set_bytes: used.memory_bytes.saturating_sub(used.inactive_file_bytes),
    });
    let running = view.running.iter().filter_map(|(name, id)| {
        let usage = *containers.get(id)?;
        Some(ContainerUsage { name: name.clone(), started: started(&view.status, name), usage })
    });
    PodUsage {
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
        uid: text(&metadata.uid),
        started: view.status.start_time.as_ref().map(|time| time.0),
        usage,
        containers: running.collect(),
    }
}

/// When a container was started.
fn started(status: &PodStatus, name: &str) -> Option<Timestamp> {
    let lists =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|container| container.name == name)?;
    Some(found.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0)
}
