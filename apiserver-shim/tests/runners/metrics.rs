//! The metrics of scheduler and controllers.

use apiserver_shim::metrics;
use serde_json::json;

use crate::cluster::{Cluster, deployment, trace};
use crate::scrape::Scrape;

fn scrape(cluster: &Cluster) -> Scrape {
    Scrape::parse(&metrics::print(&cluster.metrics).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_queues_and_cycles_of_the_scheduler() {
    trace();
    let cluster = Cluster::start(1).await;
    cluster.create("apps", "deployments", "ns", deployment(3)).await;
    cluster.until("three run", |c| c.running() == 3).await;
    let container = json!({"name": "c", "image": "x", "resources": {"requests": {"cpu": "1000"}}});
    let large = json!({
        "kind": "Pod", "metadata": {"name": "large", "namespace": "ns"}, "spec": {"containers": [container]},
    });
    cluster.create("", "pods", "ns", large).await;
    let attempts = |scrape: &Scrape, result: &str| {
        let labels = format!("profile=\"default-scheduler\",result=\"{result}\"");
        scrape.get(&format!("scheduler_schedule_attempts_total{{{labels}}}")).unwrap_or(0.0)
    };
    let pending = |scrape: &Scrape, queue: &str| {
        scrape.get(&format!("scheduler_pending_pods{{queue=\"{queue}\"}}")).unwrap()
    };
    let refused = |c: &Cluster| {
        let scrape = scrape(c);
        attempts(&scrape, "unschedulable") >= 1.0
            && pending(&scrape, "unschedulable") + pending(&scrape, "backoff") == 1.0
    };
    cluster.until("the large Pod waits", refused).await;
    let scrape = scrape(&cluster);
    assert_eq!(attempts(&scrape, "scheduled"), 3.0);
    assert_eq!((pending(&scrape, "active"), pending(&scrape, "gated")), (0.0, 0.0));
    assert!(scrape.get("catamaran_scheduler_cycle_duration_seconds_count").unwrap() >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_queues_have_the_names_of_upstreams_controllers() {
    trace();
    let cluster = Cluster::start(1).await;
    cluster.create("apps", "deployments", "ns", deployment(2)).await;
    cluster.until("two run", |c| c.running() == 2).await;
    let scrape = scrape(&cluster);
    for name in [
        "deployment-controller",
        "endpoints-controller",
        "endpointslice-controller",
        "garbage-collector-controller",
        "namespace-controller",
        "node-lifecycle-controller",
        "pod-garbage-collector-controller",
        "replicaset-controller",
        "root-ca-certificate-publisher-controller",
        "serviceaccount-controller",
        "taint-eviction-controller",
    ] {
        let value = |metric: &str| scrape.get(&format!("workqueue_{metric}{{name=\"{name}\"}}"));
        for metric in ["depth", "retries_total", "unfinished_work_seconds"] {
            assert!(value(metric).is_some(), "{metric} of {name}");
        }
        let (adds, worked) = (value("adds_total").unwrap(), value("work_duration_seconds_count").unwrap());
        assert!(worked <= value("queue_duration_seconds_count").unwrap(), "{name}");
        if name == "deployment-controller" {
            assert!(adds >= 1.0 && worked >= 1.0, "{adds} {worked}");
        }
    }
}
