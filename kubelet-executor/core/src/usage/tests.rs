//! Usage of a node with one Pod, and the kernel's files.

use expect_test::expect;

use super::*;

fn usage(cpu_millis: u64, working_set_bytes: u64) -> Usage {
    let at = Timestamp::from_millisecond(1_700_000_000_250).unwrap();
    Usage { at, cpu: Duration::from_millis(cpu_millis), working_set_bytes }
}

fn node() -> NodeUsage {
    let started = Timestamp::from_second(1_699_999_000).ok();
    let container = ContainerUsage { name: "c".into(), started, usage: usage(1_500, 4096) };
    let pod = PodUsage {
        namespace: "ns".into(),
        name: "p".into(),
        uid: "u".into(),
        started,
        usage: Some(usage(1_600, 8192)),
        containers: vec![container],
    };
    NodeUsage {
        name: "n".into(),
        booted: Timestamp::from_second(1_600_000_000).ok(),
        usage: Some(usage(90_000, 1 << 20)),
        memory_bytes: 3 << 20,
        pods: vec![pod],
        failed: false,
    }
}

#[test]
fn metrics_have_the_times_of_their_measurement() {
    expect![[r#"
        # HELP container_cpu_usage_seconds_total [STABLE] CPU time of the container.
        # TYPE container_cpu_usage_seconds_total counter
        container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} 1.5 1700000000250
        # HELP container_memory_working_set_bytes [STABLE] Working set of the container.
        # TYPE container_memory_working_set_bytes gauge
        container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} 4096 1700000000250
        # HELP container_start_time_seconds [STABLE] Unix time of the container's start.
        # TYPE container_start_time_seconds gauge
        container_start_time_seconds{container="c",namespace="ns",pod="p"} 1699999000
        # HELP node_cpu_usage_seconds_total [STABLE] CPU time of the node.
        # TYPE node_cpu_usage_seconds_total counter
        node_cpu_usage_seconds_total 90 1700000000250
        # HELP node_memory_working_set_bytes [STABLE] Working set of the node.
        # TYPE node_memory_working_set_bytes gauge
        node_memory_working_set_bytes 1048576 1700000000250
        # HELP pod_cpu_usage_seconds_total [STABLE] CPU time of the pod.
        # TYPE pod_cpu_usage_seconds_total counter
        pod_cpu_usage_seconds_total{namespace="ns",pod="p"} 1.6 1700000000250
        # HELP pod_memory_working_set_bytes [STABLE] Working set of the pod.
        # TYPE pod_memory_working_set_bytes gauge
        pod_memory_working_set_bytes{namespace="ns",pod="p"} 8192 1700000000250
        # HELP resource_scrape_error [STABLE] 1 if the container runtime could not be asked.
        # TYPE resource_scrape_error gauge
        resource_scrape_error 0
    "#]]
    .assert_eq(&node().metrics());
}

#[test]
fn a_summary_leaves_out_what_is_not_known() {
    expect![[r#"{"node":{"cpu":{"time":"2023-11-14T22:13:20Z","usageCoreNanoSeconds":90000000000},"memory":{"availableBytes":2097152,"time":"2023-11-14T22:13:20Z","workingSetBytes":1048576},"nodeName":"n","startTime":"2020-09-13T12:26:40Z"},"pods":[{"containers":[{"cpu":{"time":"2023-11-14T22:13:20Z","usageCoreNanoSeconds":1500000000},"memory":{"time":"2023-11-14T22:13:20Z","workingSetBytes":4096},"name":"c","startTime":"2023-11-14T21:56:40Z"}],"cpu":{"time":"2023-11-14T22:13:20Z","usageCoreNanoSeconds":1600000000},"memory":{"time":"2023-11-14T22:13:20Z","workingSetBytes":8192},"podRef":{"name":"p","namespace":"ns","uid":"u"},"startTime":"2023-11-14T21:56:40Z"}]}"#]]
        .assert_eq(&node().summary().to_string());
    let unknown = NodeUsage { booted: None, usage: None, pods: Vec::new(), failed: true, ..node() };
    assert_eq!(unknown.summary().to_string(), r#"{"node":{"nodeName":"n"},"pods":[]}"#);
    assert!(unknown.metrics().ends_with("resource_scrape_error 1\n"));
}

#[test]
fn the_kernels_files_are_read() {
    let stat = "cpu  100 20 30 9000 40 5 6 7 1 0\ncpu0 1 2 3\nbtime 1600000000\n";
    let booted = Timestamp::from_second(1_600_000_000).ok();
    assert_eq!(machine_cpu(stat), Some((Duration::from_millis(1_680), booted)));
    assert_eq!(machine_cpu("cpu  1 2 x"), None);
    let meminfo = "MemTotal:  1000 kB\nMemFree:   300 kB\nActive(file): 9 kB\nInactive(file):  100 kB\n";
    assert_eq!(machine_memory(meminfo), Some((1000 * 1024, 600 * 1024)));
    assert_eq!(machine_memory("MemTotal: 1 kB"), None);
}
