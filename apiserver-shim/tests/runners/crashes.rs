//! Crashes of the API server between a call to the kernel and the write that depends on it.

use std::sync::Arc;
use std::time::Duration;

use apiserver_shim::storage::registry::Registry;
use async_trait::async_trait;
use kernel::driver::{DriverError, InProcessDriver, SchedulerDriver};
use kernel::server::MasterOptions;
use kernel_model::agent::AgentSnapshot;
use kernel_model::ids::FrameworkId;
use kernel_model::{operator, scheduler};
use serde_json::{Value, json};
use shim_core::controllers::condition;
use store::{ListRequest, MemoryStore, Store};
use tokio::sync::mpsc;

use crate::cluster::{Cluster, hollow_options, master_options, trace};

/// A driver that delivers launches and loses their answers.
struct NoAnswer(InProcessDriver);

#[async_trait]
impl SchedulerDriver for NoAnswer {
    async fn subscribe(
        &self,
        subscribe: scheduler::Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, DriverError> {
        self.0.subscribe(subscribe).await
    }

    async fn call(&self, framework_id: &FrameworkId, call: scheduler::Call) -> Result<(), DriverError> {
        let launch = matches!(call, scheduler::Call::Accept { .. });
        let answer = self.0.call(framework_id, call).await;
        if launch {
            std::future::pending::<()>().await;
        }
        answer
    }

    async fn call_all(
        &self,
        framework_id: &FrameworkId,
        calls: Vec<scheduler::Call>,
    ) -> Vec<Result<(), DriverError>> {
        let launch = calls.iter().any(|call| matches!(call, scheduler::Call::Accept { .. }));
        let answers = self.0.call_all(framework_id, calls).await;
        if launch {
            std::future::pending::<()>().await;
        }
        answers
    }

    async fn watch_cluster(
        &self,
    ) -> Result<(Vec<AgentSnapshot>, mpsc::Receiver<operator::Event>), DriverError> {
        self.0.watch_cluster().await
    }
}

fn pod(name: &str) -> Value {
    json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}]},
    })
}

fn options(store: &Arc<dyn Store>, comes_back_within: Duration) -> MasterOptions {
    let mut options = master_options(store);
    options.agent_reregister_timeout = comes_back_within;
    options
}

fn node(pods: &[Value], name: &str) -> String {
    let pod = pods.iter().find(|p| p["metadata"]["name"] == name);
    pod.and_then(|p| p["spec"]["nodeName"].as_str()).unwrap_or("").to_owned()
}

async fn open_intents(store: &Arc<dyn Store>) -> usize {
    let prefix = apiserver_shim::scheduler::LAUNCH_JOURNAL_PREFIX;
    store.list(ListRequest::prefix(prefix)).await.unwrap().kvs.len()
}

/// INV-37: API server and master crash after the ACCEPT and before the binding, and the node's agent stays away.
#[tokio::test(flavor = "multi_thread")]
async fn a_launch_before_a_crash_is_not_repeated_elsewhere() {
    trace();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut cluster = Cluster::start_on(&store, 1, options(&store, Duration::from_secs(60))).await;
    cluster.until("a node", |c| c.list("", "nodes").len() == 1).await;
    cluster.run_with(Arc::new(NoAnswer(cluster.master.in_process_driver())));
    cluster.create("", "pods", "ns", pod("torn")).await;
    while cluster.tasks().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node(&cluster.pods(), "torn"), "", "the binding was not written");
    assert_eq!(open_intents(&store).await, 1);
    // Stop everything that knows of the launch, the node first. Another node has free resources.
    (cluster.hollow, cluster.runners) = (None, None);
    let Cluster { master, .. } = cluster;
    master.shutdown().await;
    let master = kernel::server::start(options(&store, Duration::from_secs(6))).await.unwrap();
    let mut elsewhere = hollow_options();
    elsewhere.hostname_prefix = "other-".to_owned();
    let hollow = kernel::hollow::start(1, &master, elsewhere);
    let mut cluster = Cluster::of(master, Registry::open(store.clone()).await.unwrap(), Some(hollow));
    cluster.run();
    cluster.create("", "pods", "ns", pod("whole")).await;
    cluster.until("others are placed", |c| node(&c.pods(), "whole") == "other-00000").await;
    let reported = |c: &Cluster| {
        let pods = c.pods();
        let torn = pods.iter().find(|p| p["metadata"]["name"] == "torn")?;
        condition(&torn["status"], "PodScheduled").map(|c| c["message"].as_str().unwrap_or("").to_owned())
    };
    cluster.until("the wait is reported", |c| reported(c).is_some()).await;
    assert!(
        reported(&cluster).unwrap().starts_with("waiting for node hollow-00000"),
        "{:?}",
        reported(&cluster)
    );
    assert_eq!(node(&cluster.pods(), "torn"), "", "it is unknown whether it runs");
    // The agent is marked unreachable: the Pod is bound there and stays until it is evicted.
    cluster.until("bound where it was launched", |c| node(&c.pods(), "torn") == "hollow-00000").await;
    assert_eq!(cluster.tasks().await, 1);
}

/// The same without a crash of the master: the answer is lost, and the next subscription finds the task.
#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_launch_is_found_by_reconciliation() {
    trace();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut cluster = Cluster::start_on(&store, 2, options(&store, Duration::from_secs(60))).await;
    cluster.until("nodes", |c| c.list("", "nodes").len() == 2).await;
    cluster.run_with(Arc::new(NoAnswer(cluster.master.in_process_driver())));
    cluster.create("", "pods", "ns", pod("torn")).await;
    while cluster.tasks().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.run();
    cluster.until("it runs", |c| c.running() == 1).await;
    assert_eq!(cluster.tasks().await, 1);
    // The intent has been removed.
    for _ in 0..500 {
        if open_intents(&store).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(open_intents(&store).await, 0);
    cluster.audited().await;
}
