//! Names, labels and values in Prometheus' text format.

use cri::v1::Container;
use expect_test::expect;

use super::*;

fn container(state: ContainerState) -> Container {
    Container { state: state as i32, ..Container::default() }
}

fn observed() -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new("n1"));
    let running = container(ContainerState::ContainerRunning);
    metrics.observe_listing(2, &[running.clone(), running, container(ContainerState::ContainerExited)]);
    metrics.pod_start_duration.observe(1.5);
    metrics.pleg_relist_duration.observe(0.25);
    metrics.pleg_relist_interval.observe(1.0);
    metrics.pleg_last_seen.set(1_700_000_000.0);
    metrics.started_pods.inc();
    metrics.started_containers.with_label_values(&["init_container"]).inc();
    metrics.started_containers_errors.with_label_values(&["container", "ErrImagePull"]).inc();
    metrics.count_request("GET", "pods");
    metrics.count_request("POST", "exec");
    metrics.count_request("GET", "favicon.ico");
    let observe = metrics.call_observer();
    observe("run_pod_sandbox", Duration::from_millis(20), false);
    observe("container_status", Duration::from_millis(2), true);
    metrics
}

#[test]
fn metrics_have_the_kubelets_names_and_labels() {
    let text = observed().encode().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# HELP") && !line.contains("_bucket{"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    expect![[r##"
        # TYPE kubelet_http_requests_total counter
        kubelet_http_requests_total{long_running="false",method="GET",path="other",server_type="readwrite"} 1
        kubelet_http_requests_total{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
        kubelet_http_requests_total{long_running="true",method="POST",path="exec",server_type="readwrite"} 1
        # TYPE kubelet_image_volume_mounted_errors_total counter
        kubelet_image_volume_mounted_errors_total 0
        # TYPE kubelet_image_volume_mounted_succeed_total counter
        kubelet_image_volume_mounted_succeed_total 0
        # TYPE kubelet_image_volume_requested_total counter
        kubelet_image_volume_requested_total 0
        # TYPE kubelet_node_name gauge
        kubelet_node_name{node="n1"} 1
        # TYPE kubelet_pleg_last_seen_seconds gauge
        kubelet_pleg_last_seen_seconds 1700000000
        # TYPE kubelet_pleg_relist_duration_seconds histogram
        kubelet_pleg_relist_duration_seconds_sum 0.25
        kubelet_pleg_relist_duration_seconds_count 1
        # TYPE kubelet_pleg_relist_interval_seconds histogram
        kubelet_pleg_relist_interval_seconds_sum 1
        kubelet_pleg_relist_interval_seconds_count 1
        # TYPE kubelet_pod_start_duration_seconds histogram
        kubelet_pod_start_duration_seconds_sum 1.5
        kubelet_pod_start_duration_seconds_count 1
        # TYPE kubelet_running_containers gauge
        kubelet_running_containers{container_state="created"} 0
        kubelet_running_containers{container_state="exited"} 1
        kubelet_running_containers{container_state="running"} 2
        kubelet_running_containers{container_state="unknown"} 0
        # TYPE kubelet_running_pods gauge
        kubelet_running_pods 2
        # TYPE kubelet_runtime_operations_duration_seconds histogram
        kubelet_runtime_operations_duration_seconds_sum{operation_type="container_status"} 0.002
        kubelet_runtime_operations_duration_seconds_count{operation_type="container_status"} 1
        kubelet_runtime_operations_duration_seconds_sum{operation_type="run_podsandbox"} 0.02
        kubelet_runtime_operations_duration_seconds_count{operation_type="run_podsandbox"} 1
        # TYPE kubelet_runtime_operations_errors_total counter
        kubelet_runtime_operations_errors_total{operation_type="container_status"} 1
        # TYPE kubelet_runtime_operations_total counter
        kubelet_runtime_operations_total{operation_type="container_status"} 1
        kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1
        # TYPE kubelet_started_containers_errors_total counter
        kubelet_started_containers_errors_total{code="ErrImagePull",container_type="container"} 1
        # TYPE kubelet_started_containers_total counter
        kubelet_started_containers_total{container_type="init_container"} 1
        # TYPE kubelet_started_pods_errors_total counter
        kubelet_started_pods_errors_total 0
        # TYPE kubelet_started_pods_total counter
        kubelet_started_pods_total 1
    "##]]
    .assert_eq(&text);
}

#[test]
fn histograms_have_the_kubelets_buckets() {
    let families = observed().registry.gather();
    let bounds: Vec<String> = families
        .iter()
        .filter(|family| family.get_field_type() == prometheus::proto::MetricType::HISTOGRAM)
        .map(|family| {
            let buckets = family.get_metric()[0].get_histogram().get_bucket();
            let bounds: Vec<f64> = buckets.iter().map(|bucket| bucket.upper_bound()).collect();
            format!("{} {bounds:?}\n", family.name())
        })
        .collect();
    expect![[r#"
        kubelet_pleg_relist_duration_seconds [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        kubelet_pleg_relist_interval_seconds [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        kubelet_pod_start_duration_seconds [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0]
        kubelet_runtime_operations_duration_seconds [0.005, 0.0125, 0.03125, 0.078125, 0.1953125, 0.48828125, 1.220703125, 3.0517578125, 7.62939453125, 19.073486328125, 47.6837158203125, 119.20928955078125, 298.0232238769531, 745.0580596923828]
    "#]].assert_eq(&bounds.concat());
}
