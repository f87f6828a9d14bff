//! Which Pods the scheduler places, and what happens to Pods that were bound by others.

use apiserver_shim::storage::selection::Selection;
use apiserver_shim::storage::watch_cache::WatchFrom;
use serde_json::{Value, json};
use shim_core::controllers::{condition, served};

use crate::cluster::{Cluster, context, deployment, trace};

fn pod(name: &str, cpu: &str, spec: Value) -> Value {
    let mut all =
        json!({"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": all})
}

fn find(cluster: &Cluster, name: &str) -> Value {
    cluster.pods().into_iter().find(|p| p["metadata"]["name"] == name).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn gated_pods_and_those_of_other_schedulers_are_ignored() {
    trace();
    let cluster = Cluster::start(1).await;
    cluster.until("a node", |c| c.list("", "nodes").len() == 1).await;
    cluster
        .create("", "pods", "ns", pod("gated", "1", json!({"schedulingGates": [{"name": "example.com/g"}]})))
        .await;
    cluster.create("", "pods", "ns", pod("theirs", "1", json!({"schedulerName": "theirs"}))).await;
    cluster.create("", "pods", "ns", pod("ours", "1", json!({}))).await;
    let scheduled = |cluster: &Cluster, name: &str| {
        let pod = find(cluster, name);
        let condition = condition(&pod["status"], "PodScheduled").cloned().unwrap_or_default();
        (pod["spec"]["nodeName"].clone(), condition["reason"].clone())
    };
    let gated = (Value::Null, json!("SchedulingGated"));
    cluster.until("ours runs", |c| c.running() == 1).await;
    cluster.until("the gated Pod has a reason", |c| scheduled(c, "gated") == gated).await;
    // A barrier: the scheduler processes Pods in order, so it has skipped the others when this one runs.
    cluster.create("", "pods", "ns", pod("barrier", "1", json!({}))).await;
    cluster.until("the barrier runs", |c| c.running() == 2).await;
    assert_eq!(scheduled(&cluster, "gated"), gated);
    assert_eq!(scheduled(&cluster, "theirs"), (Value::Null, Value::Null));
    let ungate = |p: &mut Value| {
        p["spec"].as_object_mut().unwrap().remove("schedulingGates");
        p["metadata"]["generation"] = json!(2);
    };
    cluster.edit("", "pods", "gated", ungate).await;
    let binding = json!({"target": {"kind": "Node", "name": "hollow-00000"}});
    cluster.pipeline.bind(&context("create"), "ns", "theirs", binding).await.unwrap();
    cluster.until("all run", |c| c.running() == 4).await;
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_rejects_pods_bound_by_clients_beyond_its_resources() {
    trace();
    let cluster = Cluster::start(1).await;
    cluster.until("a node", |c| c.list("", "nodes").len() == 1).await;
    // Bound although it exceeds the node's resources, until it is rejected. The executor uses a tenth of a CPU of the
    // 32.
    cluster.binds_by_hand().await;
    cluster.create("", "pods", "ns", pod("first", "20", json!({"nodeName": "hollow-00000"}))).await;
    cluster.until("the first runs", |c| c.running() == 1).await;
    cluster.create("", "pods", "ns", pod("second", "20", json!({"nodeName": "hollow-00000"}))).await;
    cluster
        .create(
            "",
            "pods",
            "ns",
            pod("picky", "1", json!({"nodeName": "hollow-00000", "nodeSelector": {"a": "b"}})),
        )
        .await;
    cluster.create("", "pods", "ns", pod("third", "5", json!({"nodeName": "hollow-00000"}))).await;
    let status = |c: &Cluster, name: &str| {
        let pod = find(c, name);
        let text = |member: &str| pod["status"][member].as_str().unwrap_or("").to_owned();
        (text("phase"), text("reason"), text("message"))
    };
    cluster.until("the third runs", |c| c.running() == 2).await;
    cluster.until("the second is refused", |c| status(c, "second").0 == "Failed").await;
    cluster.until("the picky one is refused", |c| status(c, "picky").0 == "Failed").await;
    let (_, reason, message) = status(&cluster, "second");
    assert_eq!(reason, "OutOfcpu");
    let said = "Pod was rejected: Node didn't have enough resource: cpu, requested: 20000, used: ";
    assert!(message.starts_with(said) && message.ends_with(", capacity: 31900"), "{message}");
    assert_eq!(status(&cluster, "picky").1, "NodeAffinity");
    assert_eq!(cluster.tasks().await, 2);
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_one_controller_spread_regardless_of_other_pods() {
    trace();
    let cluster = Cluster::start(2).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == 2).await;
    cluster.create("", "pods", "ns", pod("big", "20", json!({}))).await;
    cluster.until("the big one runs", |c| c.running() == 1).await;
    cluster.create("apps", "deployments", "ns", deployment(1)).await;
    cluster.until("its first runs", |c| c.running() == 2).await;
    // In a later cycle: the emptier node already has one of them.
    cluster.edit("apps", "deployments", "web", |d| d["spec"]["replicas"] = json!(2)).await;
    cluster.until("its second runs", |c| c.running() == 3).await;
    let pods = cluster.pods();
    let of_web = pods.iter().filter(|p| p["metadata"]["name"] != "big");
    let nodes: std::collections::BTreeSet<&str> =
        of_web.map(|p| p["spec"]["nodeName"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), 2);
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_of_a_burst_is_reported_once() {
    const PODS: usize = 40;
    trace();
    let cluster = Cluster::start(4).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == 4).await;
    let registry = cluster.registry();
    let watcher = registry.watch(served("", "pods"), WatchFrom::Now, Selection::everything());
    let mut watcher = watcher.unwrap_or_else(|_| panic!("nothing lags behind now"));
    let names: Vec<String> = (0..PODS).map(|n| format!("p{n}")).collect();
    let create = |name: &str| cluster.create("", "pods", "ns", pod(name, "100m", json!({})));
    futures::future::join_all(names.iter().map(|name| create(name.as_str()))).await;
    cluster.until("all run", |c| c.running() == PODS).await;
    let mut next = || watcher.poll(1024).unwrap_or_else(|_| panic!("the window holds them")).deliveries;
    let mut seen = next();
    while !seen.is_empty() {
        for delivery in seen {
            let field = |path| delivery.object.field(path).unwrap_or("");
            let bound = !field("spec.nodeName").is_empty();
            assert!(bound || field("status.phase") == "Pending", "no Pod runs without a node");
        }
        seen = next();
    }
    let scheduled = |c: &Cluster| {
        let events = c.list("", "events").into_iter().filter(|e| e["reason"] == "Scheduled");
        events.map(|e| e["involvedObject"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    cluster.until("all are scheduled", |c| scheduled(c).len() >= PODS).await;
    let mut reported = scheduled(&cluster);
    reported.sort_unstable();
    reported.dedup();
    assert_eq!((reported.len(), scheduled(&cluster).len()), (PODS, PODS));
    cluster.audited().await;
}
