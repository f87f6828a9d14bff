//! The metrics of `/metrics`, with the kubelet's names, labels and buckets
//! (<https://kubernetes.io/docs/reference/instrumentation/metrics/>). A metric of the kubelet that this executor cannot
//! measure is absent.

use std::{sync::Arc, time::Duration};

use cri::v1::ContainerState;
use exposition::{Registrar, Registry};
use prometheus::{
    DEFAULT_BUCKETS, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

/// Bucket bounds of Pod start durations, in seconds.
const POD_START_BUCKETS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
/// Bucket bounds of runtime calls: the first in seconds, the factor between two, and their number.
const RUNTIME_BUCKETS: (f64, f64, usize) = (0.005, 2.5, 14);
/// The states of containers, with their label values.
const CONTAINER_STATES: [(ContainerState, &str); 4] = [
    (ContainerState::ContainerCreated, "created"),
    (ContainerState::ContainerExited, "exited"),
    (ContainerState::ContainerRunning, "running"),
    (ContainerState::ContainerUnknown, "unknown"),
];

/// The executor's metrics and their registry.
pub(crate) struct Metrics {
    registry: Registry,
    /// From the launch of a Pod's task to its phase Running.
    pub pod_start_duration: Histogram,
    pub pleg_relist_duration: Histogram,
    /// Between the starts of two listings.
    pub pleg_relist_interval: Histogram,
    /// Start of the last successful listing, Unix time.
    pub pleg_last_seen: Gauge,
    /// Sandboxes that were to be started.
    pub started_pods: IntCounter,
    pub started_pods_errors: IntCounter,
    /// By `container_type`: `container`, `init_container` or `ephemeral_container`.
    pub started_containers: IntCounterVec,
    /// By `container_type` and `code`, the reason that kubectl shows.
    pub started_containers_errors: IntCounterVec,
    /// Image volumes that a container was to get.
    pub image_volumes_requested: IntCounter,
    pub image_volumes_mounted: IntCounter,
    pub image_volumes_failed: IntCounter,
    running_pods: IntGauge,
    running_containers: IntGaugeVec,
    runtime_operations: IntCounterVec,
    runtime_operations_errors: IntCounterVec,
    runtime_operations_duration: HistogramVec,
    http_requests: IntCounterVec,
}

impl Metrics {
    pub fn new(node_name: &str) -> Self {
        let to = Registrar::default();
        let node = to.gauges("kubelet_node_name", "The node's name as a label; the value is 1.", &["node"]);
        node.with_label_values(&[node_name]).set(1);
        let (name, help) = ("kubelet_pod_start_duration_seconds", "Time from a pod's launch until it runs.");
        let pod_start_duration = to.histogram(name, help, &POD_START_BUCKETS);
        let (name, help) = ("kubelet_pleg_relist_duration_seconds", "Duration of a PLEG listing.");
        let pleg_relist_duration = to.histogram(name, help, DEFAULT_BUCKETS);
        let (name, help) = ("kubelet_pleg_relist_interval_seconds", "Time between two PLEG listings.");
        let pleg_relist_interval = to.histogram(name, help, DEFAULT_BUCKETS);
        let (name, help) = ("kubelet_pleg_last_seen_seconds", "Unix time of the last successful listing.");
        let pleg_last_seen = to.add(Gauge::new(name, help));
        let (name, help) = ("kubelet_started_pods_total", "Pod sandboxes that were to be started.");
        let started_pods = to.counter(name, help);
        let (name, help) = ("kubelet_started_pods_errors_total", "Pod sandboxes that could not be started.");
        let started_pods_errors = to.counter(name, help);
        let (name, help) = ("kubelet_started_containers_total", "Containers that were to be started.");
        let started_containers = to.counters(name, help, &["container_type"]);
        let (name, help) = ("kubelet_started_containers_errors_total", "Containers that failed to start.");
        let started_containers_errors = to.counters(name, help, &["container_type", "code"]);
        let [image_volumes_requested, image_volumes_mounted, image_volumes_failed] = image_volumes(&to);
        let running_pods = to.add(IntGauge::new("kubelet_running_pods", "Pods with a running sandbox."));
        let (name, help) = ("kubelet_running_containers", "Containers in the runtime by state.");
        let running_containers = to.gauges(name, help, &["container_state"]);
        let operation = ["operation_type"];
        let (name, help) = ("kubelet_runtime_operations_total", "Calls to the container runtime.");
        let runtime_operations = to.counters(name, help, &operation);
        let (name, help) = ("kubelet_runtime_operations_errors_total", "Failed calls to the runtime.");
        let runtime_operations_errors = to.counters(name, help, &operation);
        let (first, factor, count) = RUNTIME_BUCKETS;
        let buckets = prometheus::exponential_buckets(first, factor, count);
        let buckets = buckets.expect("the bounds are positive and ascend");
        let (name, help) =
            ("kubelet_runtime_operations_duration_seconds", "Duration of calls to the runtime.");
        let runtime_operations_duration = to.histograms(name, help, &operation, &buckets);
        let (name, help) = ("kubelet_http_requests_total", "Requests to the node's server.");
        let http_requests = to.counters(name, help, &["method", "path", "server_type", "long_running"]);
        Metrics {
            registry: to.registry,
            pod_start_duration,
            pleg_relist_duration,
            pleg_relist_interval,
            pleg_last_seen,
            started_pods,
            started_pods_errors,
            started_containers,
            started_containers_errors,
            image_volumes_requested,
            image_volumes_mounted,
            image_volumes_failed,
            running_pods,
            running_containers,
            runtime_operations,
            runtime_operations_errors,
            runtime_operations_duration,
            http_requests,
        }
    }

    /// Sets the gauges of what runs, from a listing of the runtime.
    pub fn observe_listing(&self, running_pods: usize, containers: &[cri::v1::Container]) {
        self.running_pods.set(i64::try_from(running_pods).unwrap_or(i64::MAX));
        for (state, label) in CONTAINER_STATES {
            let count = containers.iter().filter(|container| container.state == state as i32).count();
            let gauge = self.running_containers.with_label_values(&[label]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts a request to the node's server. `path` is the first segment. What is not listed counts as `other`, since each
    /// value costs memory.
    pub fn count_request(&self, method: &str, path: &str) {
        let method = match method {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" => method,
            _ => "other",
        };
        let (path, long_running) = match path {
            "exec" | "attach" | "portForward" => (path, "true"),
            "containerLogs" | "healthz" | "metrics" | "pods" | "stats" => (path, "false"),
            _ => ("other", "false"),
        };
        self.http_requests.with_label_values(&[method, path, "readwrite", long_running]).inc();
    }

    /// Counts and times calls to the container runtime.
    pub fn call_observer(self: &Arc<Self>) -> cri::CallObserver {
        let metrics = self.clone();
        Arc::new(move |call: &'static str, duration: Duration, failed: bool| {
            // Upstream writes `run_podsandbox`, not `run_pod_sandbox`.
            let operation = call.replace("pod_sandbox", "podsandbox");
            let labels = [operation.as_str()];
            metrics.runtime_operations.with_label_values(&labels).inc();
            metrics.runtime_operations_duration.with_label_values(&labels).observe(duration.as_secs_f64());
            if failed {
                metrics.runtime_operations_errors.with_label_values(&labels).inc();
            }
        })
    }

    /// All metrics in Prometheus' text format.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        exposition::print(&self.registry)
    }
}

fn image_volumes(to: &Registrar) -> [IntCounter; 3] {
    [
        to.counter("kubelet_image_volume_requested_total", "Image volumes that were requested."),
        to.counter("kubelet_image_volume_mounted_succeed_total", "Image volumes that were mounted."),
        to.counter("kubelet_image_volume_mounted_errors_total", "Image volumes that failed to mount."),
    ]
}

#[cfg(test)]
mod tests;
