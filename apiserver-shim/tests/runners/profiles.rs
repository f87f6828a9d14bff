//! Scheduler profiles, and Pods that the scheduler does not place.

use std::sync::Arc;

use apiserver_shim::scheduler::SchedulerConfiguration;
use serde_json::{Value, json};
use shim_core::controllers::condition;

use crate::cluster::{Cluster, trace};

async fn create(cluster: &Cluster, name: &str, spec: Value) {
    let request = json!({"requests": {"cpu": "1"}});
    let mut all = json!({"containers": [{"name": "c", "image": "x", "resources": request}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let pod = json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": all});
    cluster.create("", "pods", "ns", pod).await;
}

/// The message of the Pod's `PodScheduled` condition.
fn waits(cluster: &Cluster, name: &str) -> String {
    let pods = cluster.pods();
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name);
    let condition = pod.and_then(|pod| condition(&pod["status"], "PodScheduled"));
    condition.and_then(|condition| condition["message"].as_str()).unwrap_or("").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_schedules_the_pods_of_its_name() {
    trace();
    let mut cluster = Cluster::start(1).await;
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [
            {"schedulerName": "default-scheduler"},
            {"schedulerName": "careless", "plugins": {"multiPoint": {"disabled": [{"name": "NodeAffinity"}]}}},
        ],
    });
    let configuration = SchedulerConfiguration::decode(&configuration).unwrap();
    cluster.run_configured(Arc::new(cluster.master.in_process_driver()), configuration);
    let elsewhere = json!({"zone": "elsewhere"});
    create(&cluster, "default", json!({"nodeSelector": elsewhere})).await;
    create(&cluster, "careless", json!({"nodeSelector": elsewhere, "schedulerName": "careless"})).await;
    create(&cluster, "theirs", json!({"schedulerName": "theirs"})).await;
    cluster.until("the second profile places its Pod", |c| c.running() == 1).await;
    let sources = |c: &Cluster| -> Vec<String> {
        let events = c.list("", "events");
        let scheduled = events.iter().filter(|event| event["reason"] == "Scheduled");
        scheduled.map(|event| event["reportingComponent"].as_str().unwrap_or("").to_owned()).collect()
    };
    cluster.until("its Event names the profile", |c| sources(c) == ["careless"]).await;
    cluster.until("the first explains its refusal", |c| waits(c, "default").contains("node affinity")).await;
    assert_eq!(waits(&cluster, "theirs"), "");
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_an_unsupported_constraint_stays_pending() {
    trace();
    let cluster = Cluster::start(1).await;
    cluster.until("a node", |c| c.list("", "nodes").len() == 1).await;
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    create(&cluster, "apart", json!({"affinity": {"podAntiAffinity": required}})).await;
    let constraint = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}},
    });
    create(&cluster, "spread", json!({"topologySpreadConstraints": [constraint]})).await;
    create(&cluster, "plain", json!({})).await;
    cluster.until("the plain one runs", |c| c.running() == 1).await;
    cluster.until("one waits", |c| waits(c, "apart").contains("pod has required pod anti-affinity")).await;
    cluster.until("so does the other", |c| waits(c, "spread").contains("DoNotSchedule")).await;
    assert_eq!(cluster.running(), 1);
    cluster.audited().await;
}
