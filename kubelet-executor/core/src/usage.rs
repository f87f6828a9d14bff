//! The CPU time and the memory that a node and its Pods use, as the kubelet's `/metrics/resource` and `/stats/summary` show them.
//! Clients such as metrics-server compute rates from two answers.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

/// CPU time and memory at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// When it was measured.
    pub at: Timestamp,
    /// CPU time since the start, of all cores together.
    pub cpu: Duration,
    /// Memory that cannot be taken back: without files that were not used lately.
    pub working_set_bytes: u64,
}

/// The usage of a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerUsage {
    pub name: String,
    pub started: Option<Timestamp>,
    pub usage: Usage,
}

/// The usage of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PodUsage {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub started: Option<Timestamp>,
    /// Of all that belongs to it; `None` if it has no cgroup.
    pub usage: Option<Usage>,
    pub containers: Vec<ContainerUsage>,
}

/// The usage of a node and its Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NodeUsage {
    pub name: String,
    pub booted: Option<Timestamp>,
    pub usage: Option<Usage>,
    pub memory_bytes: u64,
    pub pods: Vec<PodUsage>,
    /// Whether the runtime could not be asked.
    pub failed: bool,
}

/// The CPU time of a machine, and when it was booted, from `/proc/stat`.
pub fn machine_cpu(proc_stat: &str) -> Option<(Duration, Option<Timestamp>)> {
    /// Ticks of the kernel's interface in a second, on every architecture.
    const TICKS: u64 = 100;
    let line = |name: &str| proc_stat.lines().find_map(|line| line.strip_prefix(name));
    let ticks: Vec<u64> = line("cpu ")?.split_whitespace().map_while(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is part of user.
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    let used = user + nice + system + irq + softirq + steal;
    let booted = line("btime ").and_then(|seconds| Timestamp::from_second(seconds.trim().parse().ok()?).ok());
    Some((Duration::from_millis(used * 1000 / TICKS), booted))
}

/// The memory of a machine and its working set, in bytes, from `/proc/meminfo`.
pub fn machine_memory(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let kib = meminfo.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))?;
        Some(kib.trim().parse::<u64>().ok()? * 1024)
    };
    let total = bytes("MemTotal:")?;
    let idle = bytes("MemFree:")? + bytes("Inactive(file):")?;
    Some((total, total.saturating_sub(idle)))
}

/// A value, and when it was measured.
type Measured = (f64, Option<Timestamp>);
/// A metric's samples, with their labels.
type Samples = Vec<(String, Measured)>;

/// Appends a metric in Prometheus' text format; nothing if it has no sample.
fn family(out: &mut String, (name, kind, help): (&str, &str, &str), samples: Samples) {
    if samples.is_empty() {
        return;
    }
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, (value, at)) in samples {
        let time = at.map(|at| format!(" {}", at.as_millisecond())).unwrap_or_default();
        let _ = writeln!(out, "{name}{labels} {value}{time}");
    }
}

#[allow(clippy::cast_precision_loss)]
fn memory(usage: &Usage) -> f64 {
    usage.working_set_bytes as f64
}

fn cpu(usage: &Usage) -> f64 {
    usage.cpu.as_secs_f64()
}

impl NodeUsage {
    /// In Prometheus' text format, with the kubelet's names. Names of Kubernetes' objects need no escapes.
    pub fn metrics(&self) -> String {
        let of_containers = |value: fn(&ContainerUsage) -> Option<Measured>| -> Samples {
            let containers = self.pods.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
            let sample = |(pod, container): (&PodUsage, &ContainerUsage)| {
                let value = value(container)?;
                let PodUsage { namespace, name, .. } = pod;
                let container = &container.name;
                let labels = format!(r#"{{container="{container}",namespace="{namespace}",pod="{name}"}}"#);
                Some((labels, value))
            };
            containers.filter_map(sample).collect()
        };
        let of_pods = |value: fn(&Usage) -> f64| -> Samples {
            let sample = |pod: &PodUsage| {
                let usage = pod.usage.as_ref()?;
                let labels = format!(r#"{{namespace="{}",pod="{}"}}"#, pod.namespace, pod.name);
                Some((labels, (value(usage), Some(usage.at))))
            };
            self.pods.iter().filter_map(sample).collect()
        };
        let of_node = |value: fn(&Usage) -> f64| -> Samples {
            self.usage.iter().map(|usage| (String::new(), (value(usage), Some(usage.at)))).collect()
        };
        let mut out = String::new();
        let counter = |name, help| (name, "counter", help);
        let gauge = |name, help| (name, "gauge", help);
        let of = counter("container_cpu_usage_seconds_total", "[STABLE] CPU time of the container.");
        family(&mut out, of, of_containers(|c| Some((cpu(&c.usage), Some(c.usage.at)))));
        let of = gauge("container_memory_working_set_bytes", "[STABLE] Working set of the container.");
        family(&mut out, of, of_containers(|c| Some((memory(&c.usage), Some(c.usage.at)))));
        let of = gauge("container_start_time_seconds", "[STABLE] Unix time of the container's start.");
        family(&mut out, of, of_containers(|c| Some((c.started?.as_duration().as_secs_f64(), None))));
        let of = counter("node_cpu_usage_seconds_total", "[STABLE] CPU time of the node.");
        family(&mut out, of, of_node(cpu));
        let of = gauge("node_memory_working_set_bytes", "[STABLE] Working set of the node.");
        family(&mut out, of, of_node(memory));
        let of = counter("pod_cpu_usage_seconds_total", "[STABLE] CPU time of the pod.");
        family(&mut out, of, of_pods(cpu));
        let of = gauge("pod_memory_working_set_bytes", "[STABLE] Working set of the pod.");
        family(&mut out, of, of_pods(memory));
        let of = gauge("resource_scrape_error", "[STABLE] 1 if the container runtime could not be asked.");
        family(&mut out, of, vec![(String::new(), (f64::from(u8::from(self.failed)), None))]);
        out
    }

    /// As the kubelet's `Summary` (`stats/v1alpha1`). What is not measured is absent.
    pub fn summary(&self) -> Value {
        let pods = self.pods.iter().map(|pod| {
            let containers = pod.containers.iter().map(|container| {
                let name = json!({"name": container.name});
                with(name, container.started, Some(&container.usage), None)
            });
            let reference = json!({"podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
                "containers": containers.collect::<Vec<_>>()});
            with(reference, pod.started, pod.usage.as_ref(), None)
        });
        let node = json!({"nodeName": self.name});
        let node = with(node, self.booted, self.usage.as_ref(), Some(self.memory_bytes));
        json!({"node": node, "pods": pods.collect::<Vec<_>>()})
    }
}

/// A time in whole seconds, as in objects of the API.
fn time(at: Timestamp) -> Value {
    json!(crate::time::whole_seconds(at))
}

/// Adds a start time and the usage; with the total memory, what is available of it.
fn with(
    object: Value,
    started: Option<Timestamp>,
    usage: Option<&Usage>,
    memory_bytes: Option<u64>,
) -> Value {
    let Value::Object(mut object) = object else { return object };
    object.extend(started.map(|started| ("startTime".to_owned(), time(started))));
    if let Some(Usage { at, cpu, working_set_bytes }) = usage {
        let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        let cpu = json!({"time": time(*at), "usageCoreNanoSeconds": nanos});
        let memory = match memory_bytes.map(|total| total.saturating_sub(*working_set_bytes)) {
            Some(available) => {
                json!({"time": time(*at), "availableBytes": available, "workingSetBytes": working_set_bytes})
            }
            None => json!({"time": time(*at), "workingSetBytes": working_set_bytes}),
        };
        object.extend([("cpu".to_owned(), cpu), ("memory".to_owned(), memory)]);
    }
    object.into()
}

#[cfg(test)]
mod tests;
