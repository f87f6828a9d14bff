//! Statuses of a Pod are stored in the order in which its node reported them, regardless of the duration of writes
//! and calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::driver::{DriverError, InProcessDriver, SchedulerDriver};
use kernel_model::agent::AgentSnapshot;
use kernel_model::ids::FrameworkId;
use kernel_model::{operator, scheduler};
use serde_json::json;
use store::{
    Error, GetResult, Key, ListRequest, Listing, MemoryStore, Revision, Store, Txn, TxnOutcome, Watch,
};
use tokio::sync::mpsc;

use crate::cluster::{Cluster, master_options, trace};

/// Varying delays of 0 to 9 ms.
#[derive(Default)]
struct Waits(AtomicU64);

impl Waits {
    async fn next(&self) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(turn.wrapping_mul(7) % 10)).await;
    }
}

/// A store with slow writes.
#[derive(Default)]
struct SlowStore(MemoryStore, Waits);

#[async_trait]
impl Store for SlowStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.1.next().await;
        self.0.txn(txn).await
    }
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.0.current_revision().await
    }
    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        self.0.get(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        self.0.list(request).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.0.watch(prefix, after).await
    }
    async fn request_progress(&self) -> Result<(), Error> {
        self.0.request_progress().await
    }
    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.0.compact(revision).await
    }
}

/// A driver with slow acknowledgements, which delay the nodes' next updates.
struct SlowAnswers(InProcessDriver, Waits);

#[async_trait]
impl SchedulerDriver for SlowAnswers {
    async fn subscribe(
        &self,
        subscribe: scheduler::Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, DriverError> {
        self.0.subscribe(subscribe).await
    }

    async fn call(&self, framework_id: &FrameworkId, call: scheduler::Call) -> Result<(), DriverError> {
        if matches!(call, scheduler::Call::Acknowledge { .. }) {
            self.1.next().await;
        }
        self.0.call(framework_id, call).await
    }

    async fn watch_cluster(
        &self,
    ) -> Result<(Vec<AgentSnapshot>, mpsc::Receiver<operator::Event>), DriverError> {
        self.0.watch_cluster().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_status_of_a_pod_is_written_last() {
    const ROUNDS: usize = 40;
    const AT_ONCE: usize = 3;
    trace();
    let store: Arc<dyn Store> = Arc::new(SlowStore::default());
    let options = master_options(&store);
    let mut cluster = Cluster::start_on(&store, 4, options).await;
    cluster.run_with(Arc::new(SlowAnswers(cluster.master.in_process_driver(), Waits::default())));
    cluster.until("nodes", |c| c.list("", "nodes").len() == 4).await;
    for round in 0..ROUNDS {
        let create = |n: usize| {
            let pod = json!({
                "kind": "Pod", "metadata": {"name": format!("p{round}-{n}"), "namespace": "ns"},
                "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "10m"}}}]},
            });
            cluster.create("", "pods", "ns", pod)
        };
        futures::future::join_all((0..AT_ONCE).map(create)).await;
        cluster.until("all run", |c| c.running() == (round + 1) * AT_ONCE).await;
    }
    cluster.audited().await;
}
