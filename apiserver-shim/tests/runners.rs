//! Controllers and scheduler against a real master with simulated agents and an in-memory store: no HTTP, no
//! processes. The auditor runs while a test waits, and once more at its end.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "runners/auditing.rs"]
mod auditing;
#[path = "runners/cluster.rs"]
mod cluster;

#[path = "runners/crashes.rs"]
mod crashes;
#[path = "runners/metrics.rs"]
mod metrics;
#[path = "runners/ordering.rs"]
mod ordering;
#[path = "runners/profiles.rs"]
mod profiles;
#[path = "runners/quotas.rs"]
mod quotas;
#[path = "runners/scheduling.rs"]
mod scheduling;
#[path = "api/scrape.rs"]
mod scrape;
#[path = "runners/secret_tokens.rs"]
mod secret_tokens;
#[path = "runners/unreadable.rs"]
mod unreadable;
#[path = "runners/volumes.rs"]
mod volumes;

use std::time::{Duration, Instant};

use apiserver_shim::pipeline::ObjectRef;
use apiserver_shim::storage::pod_cidrs::ClusterCidr;
use serde_json::{Value, json};
use shim_core::controllers::{condition, served};

use cluster::{Cluster, context, deployment, hollow_options, trace};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_created_scaled_and_deleted() {
    trace();
    let cluster = Cluster::start(3).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == 3).await;
    cluster.until("service account", |c| c.list("", "serviceaccounts").len() == 1).await;
    cluster.until("root certificate", |c| c.list("", "configmaps").len() == 1).await;
    cluster
        .create(
            "",
            "services",
            "ns",
            json!({
                "kind": "Service", "metadata": {"name": "web", "namespace": "ns"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
            }),
        )
        .await;
    cluster.create("apps", "deployments", "ns", deployment(3)).await;
    cluster.until("three run", |c| c.running() == 3).await;
    let available = |c: &Cluster| {
        let all = c.list("apps", "deployments");
        all[0]["status"]["availableReplicas"] == 3
            && condition(&all[0]["status"], "Progressing")
                .is_some_and(|c| c["reason"] == "NewReplicaSetAvailable")
    };
    cluster.until("available", available).await;
    let nodes: std::collections::BTreeSet<String> =
        cluster.pods().iter().map(|p| p["spec"]["nodeName"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nodes.len(), 3, "spread over the nodes");
    cluster
        .until("endpoints", |c| {
            let slices = c.list("discovery.k8s.io", "endpointslices");
            slices.iter().any(|s| s["endpoints"].as_array().is_some_and(|e| e.len() == 3))
        })
        .await;
    cluster
        .until("events", |c| {
            let reasons: Vec<Value> = c.list("", "events").iter().map(|e| e["reason"].clone()).collect();
            ["Scheduled", "SuccessfulCreate", "ScalingReplicaSet"].iter().all(|r| reasons.contains(&json!(r)))
        })
        .await;
    assert_eq!(cluster.endpoints.get("hollow-00000").as_deref(), Some("127.0.0.1:10250"));
    let port = |c: &Cluster| {
        let nodes = c.list("", "nodes");
        nodes.iter().any(|n| n["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250)
    };
    cluster.until("the reported port", port).await;

    cluster
        .edit("apps", "deployments", "web", |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        })
        .await;
    cluster
        .until("rolled out", |c| {
            let new = c.pods().iter().filter(|p| p["spec"]["containers"][0]["image"] == "web:2").count();
            new == 3 && c.pods().len() == 3 && available(c)
        })
        .await;

    cluster.edit("apps", "deployments", "web", |d| d["spec"]["replicas"] = json!(1)).await;
    cluster.until("scaled down", |c| c.pods().len() == 1).await;

    cluster.delete("", "namespaces", "", "ns").await;
    cluster.until("namespace gone", |c| c.list("", "namespaces").is_empty()).await;
    assert!(cluster.pods().is_empty() && cluster.list("apps", "replicasets").is_empty());
    assert_eq!(cluster.tasks().await, 0);
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_nothing_twice_and_loses_nothing() {
    trace();
    let mut cluster = Cluster::start(3).await;
    cluster.create("apps", "deployments", "ns", deployment(6)).await;
    cluster.until("six run", |c| c.running() == 6).await;
    let uids = |c: &Cluster| {
        let mut uids: Vec<Value> = c.pods().iter().map(|p| p["metadata"]["uid"].clone()).collect();
        uids.sort_by_key(Value::to_string);
        uids
    };
    let before = uids(&cluster);
    for round in 0..3 {
        cluster.runners = None;
        cluster.run();
        let name = format!("extra-{round}");
        cluster
            .create(
                "",
                "pods",
                "ns",
                json!({
                    "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
                    "spec": {"containers": [{"name": "c", "image": "x"}]},
                }),
            )
            .await;
        cluster.until("all run", |c| c.running() == 7 + round).await;
    }
    let after = uids(&cluster);
    assert!(before.iter().all(|uid| after.contains(uid)));
    assert_eq!(cluster.tasks().await, 9);
    // Deleted while the scheduler is down: the next one kills it.
    cluster.runners = None;
    cluster.delete("apps", "deployments", "ns", "web").await;
    cluster.delete("", "pods", "ns", "extra-0").await;
    cluster.run();
    cluster.until("two are left", |c| c.pods().len() == 2).await;
    assert_eq!(cluster.tasks().await, 2);
    cluster.audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unschedulable_pod_reports_why_and_runs_once_it_fits() {
    trace();
    let mut cluster = Cluster::start(2).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == 2).await;
    let pod = |name: &str, spec: Value| json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec});
    cluster
        .create(
            "",
            "pods",
            "ns",
            pod(
                "picky",
                json!({
                    "containers": [{"name": "c", "image": "x"}], "nodeSelector": {"disk": "ssd"},
                }),
            ),
        )
        .await;
    cluster
        .create(
            "",
            "pods",
            "ns",
            pod(
                "huge",
                json!({
                    "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "64"}}}],
                }),
            ),
        )
        .await;
    let says = |c: &Cluster, name: &str| {
        let pods = c.pods();
        let pod = pods.iter().find(|p| p["metadata"]["name"] == name)?;
        condition(&pod["status"], "PodScheduled").map(|c| c["message"].as_str().unwrap_or("").to_owned())
    };
    cluster.until("reasons", |c| says(c, "picky").is_some() && says(c, "huge").is_some()).await;
    assert_eq!(
        says(&cluster, "picky").unwrap(),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        says(&cluster, "huge").unwrap(),
        "0/2 nodes are available: 2 Insufficient cpu. \
         preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
    let nodes = cluster.registry().builtin(&served("", "nodes"));
    let (context, target) = (context("patch"), ObjectRef::new(&nodes, "", "hollow-00001"));
    let label = cluster.pipeline.update_with(&context, target, |node| {
        let mut node = node.clone();
        node["metadata"]["labels"]["disk"] = json!("ssd");
        Ok(node)
    });
    label.await.unwrap();
    cluster.until("picky runs", |c| c.running() == 1).await;
    cluster.audited().await;
    cluster.hollow = None;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_pod_cidr_is_not_ready_and_gets_an_event() {
    trace();
    let mut cluster = Cluster::start(0).await;
    // Events about Nodes are in the namespace `default`.
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "default"}});
    cluster.create("", "namespaces", "", namespace).await;
    cluster.cluster_cidr = ClusterCidr::new("10.244.0.0/23".parse().unwrap(), 24).unwrap();
    cluster.run();
    cluster.hollow = Some(kernel::hollow::start(3, &cluster.master, hollow_options()));
    let of_nodes = |c: &Cluster, ready: &str| -> Vec<String> {
        let nodes = c.list("", "nodes");
        let with =
            nodes.iter().filter(|n| condition(&n["status"], "Ready").is_some_and(|r| r["status"] == ready));
        let mut cidrs: Vec<String> =
            with.map(|n| n["spec"]["podCIDR"].as_str().unwrap_or("none").to_owned()).collect();
        cidrs.sort();
        cidrs
    };
    cluster.until("two nodes are ready", |c| of_nodes(c, "True") == ["10.244.0.0/24", "10.244.1.0/24"]).await;
    cluster.until("the third is not", |c| of_nodes(c, "False") == ["none"]).await;
    let reported = |c: &Cluster| c.list("", "events").iter().any(|e| e["reason"] == "CIDRNotAvailable");
    cluster.until("the event", reported).await;
    cluster.hollow = None;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_partitioned_node_are_evicted_after_their_toleration_seconds() {
    trace();
    let mut cluster = Cluster::start_with(2, |options| {
        // Short, but long enough that a busy machine is not taken for a partitioned one.
        options.agent_ping_interval = Duration::from_millis(250);
        options.agent_ping_timeouts = 6;
        options.agent_reregister_timeout = Duration::from_millis(300);
    })
    .await;
    let mut web = deployment(2);
    web["spec"]["template"]["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
    ]);
    cluster.create("apps", "deployments", "ns", web).await;
    cluster.until("two run", |c| c.running() == 2).await;
    cluster.hollow = None;
    let tainted = |c: &Cluster| {
        let nodes = c.list("", "nodes");
        nodes.iter().all(|n| {
            condition(&n["status"], "Ready").is_some_and(|r| r["status"] == "Unknown")
                && n["spec"]["taints"].as_array().is_some_and(|t| t.len() == 2)
        })
    };
    cluster.until("nodes unknown and tainted", tainted).await;
    let not_ready = |c: &Cluster| {
        let ready = |p: &Value| condition(&p["status"], "Ready").is_some_and(|r| r["status"] == "True");
        !c.pods().iter().any(ready)
    };
    cluster.until("pods not ready", not_ready).await;
    // Evicted after a second: marked and replaced, but kept while it is unknown whether they run.
    cluster
        .until("evicted and replaced", |c| {
            let pods = c.pods();
            let leaving = pods.iter().filter(|p| p["metadata"]["deletionTimestamp"].is_string()).count();
            leaving == 2 && pods.len() == 4
        })
        .await;
    let replacement = |c: &Cluster| {
        let waits =
            |p: &&Value| condition(&p["status"], "PodScheduled").is_some_and(|s| s["status"] == "False");
        c.pods().iter().filter(waits).count() == 2
    };
    cluster.until("replacements say why they wait", replacement).await;
    // Nodes return with new IDs, because these agents keep no state: the replacements run there.
    cluster.hollow = Some(kernel::hollow::start(2, &cluster.master, hollow_options()));
    cluster
        .until("replacements run", |c| {
            let pods = c.pods();
            let runs = |p: &&Value| {
                p["status"]["phase"] == "Running" && !p["metadata"]["deletionTimestamp"].is_string()
            };
            pods.iter().filter(runs).count() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_are_scheduled() {
    trace();
    let (machines, pods) = match std::env::var("RUNNERS_LOAD").ok().as_deref() {
        Some("full") => (5_000, 10_000),
        Some("middle") => (1_000, 4_000),
        _ => (100, 500),
    };
    let cluster = Cluster::start(machines).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == machines as usize).await;
    cluster.until("service account", |c| c.list("", "serviceaccounts").len() == 1).await;
    let begun = (Instant::now(), cpu_seconds());
    let make = |n: usize| {
        let cluster = &cluster;
        async move {
            cluster.create("", "pods", "ns", json!({
                "kind": "Pod", "metadata": {"name": format!("p{n:05}"), "namespace": "ns"},
                "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]},
            })).await;
        }
    };
    for chunk in (0..pods).collect::<Vec<_>>().chunks(64) {
        futures::future::join_all(chunk.iter().map(|n| make(*n))).await;
    }
    eprintln!("created after {:?}", begun.0.elapsed());
    let bound = |c: &Cluster| {
        let pods = c.registry().cache(served("", "pods"));
        pods.view().iter(None).filter(|o| o.field("spec.nodeName").is_some_and(|n| !n.is_empty())).count()
    };
    cluster.until("bound", |c| bound(c) == pods).await;
    let cpu = cpu_seconds() - begun.1;
    eprintln!("bound after {:?}, {:.0} µs of CPU each", begun.0.elapsed(), cpu * 1e6 / pods as f64);
    cluster.until("running", |c| c.running() == pods).await;
    let cpu = cpu_seconds() - begun.1;
    eprintln!("running after {:?}, {:.0} µs of CPU each", begun.0.elapsed(), cpu * 1e6 / pods as f64);
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
