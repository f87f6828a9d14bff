//! The workers: an additional controller runs beside the built-in ones, panics are contained, a slow controller
//! delays no other, and every plan sees the writes of the previous one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use shim_core::controllers::{
    Action, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Registration, View, served,
};
use store::{
    Error, GetResult, Key, ListRequest, Listing, MemoryStore, Op, Revision, Store, Txn, TxnOutcome, Watch,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::pipeline::{Identity, ObjectRef};
use crate::storage::registry::Registry;

/// Creates a ConfigMap `<name>-<suffix>` for each ConfigMap without a label.
struct Copier {
    suffix: &'static str,
    /// The number of reconciles that panic first.
    panics: AtomicUsize,
}

impl Controller for Copier {
    const NAME: &'static str = "copy-controller";
    const SERVICE_ACCOUNT: &'static str = "copy-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "configmaps")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.header().labels.is_empty() {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let one_less = |left: usize| left.checked_sub(1);
        if self.panics.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            panic!("injected by the test");
        }
        let (namespace, name) = (&*key.key.namespace, format!("{}-{}", key.key.name, self.suffix));
        let mut plan = Plan::default();
        if view.object(&served("", "configmaps"), namespace, &name).is_none() {
            plan.actions
                .push(create(json!({"name": name, "namespace": namespace, "labels": {"copy": "yes"}})));
        }
        plan
    }
}

/// Maintains `wanted` ConfigMaps with generated names; each plan creates one.
struct Filler {
    wanted: usize,
}

impl Controller for Filler {
    const NAME: &'static str = "fill-controller";
    const SERVICE_ACCOUNT: &'static str = "fill-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "configmaps")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        keys.insert(ObjectName::new(served("", "namespaces"), "", &change.header().namespace));
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let maps = view.in_namespace(&served("", "configmaps"), &key.key.name);
        if maps.filter(|map| map.header().labels.contains_key("fill")).count() < self.wanted {
            plan.actions
                .push(create(json!({"generateName": "f-", "namespace": "ns", "labels": {"fill": "yes"}})));
        }
        plan
    }
}

fn create(metadata: serde_json::Value) -> Action {
    Action::Create {
        resource: served("", "configmaps"),
        namespace: "ns".to_owned(),
        object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
    }
}

/// A store in which writes of keys that end in `-slow` wait for a permit.
struct GatedStore {
    store: MemoryStore,
    gate: Semaphore,
}

#[async_trait]
impl Store for GatedStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let slow = |op: &Op| matches!(op, Op::Put { key, .. } if key.as_str().ends_with("-slow"));
        if txn.ops.iter().any(slow) {
            self.gate.acquire().await.expect("invariant: the gate is not closed").forget();
        }
        self.store.txn(txn).await
    }
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.store.current_revision().await
    }
    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        self.store.get(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        self.store.list(request).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.store.watch(prefix, after).await
    }
    async fn request_progress(&self) -> Result<(), Error> {
        self.store.request_progress().await
    }
    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.store.compact(revision).await
    }
}

struct Running {
    pipeline: Pipeline,
    store: Arc<GatedStore>,
    metrics: QueueMetrics,
    task: JoinHandle<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    async fn start(controllers: Vec<Registration>) -> Running {
        let store = Arc::new(GatedStore { store: MemoryStore::new(), gate: Semaphore::new(0) });
        let registry = Registry::open(store.clone()).await.unwrap();
        let pipeline = Pipeline::new(registry.clone());
        let running = Controllers::new(ControllerOptions {
            pipeline: pipeline.clone(),
            pod_views: PodViews::default(),
            controllers,
            events: EventRecorder::start(pipeline.clone()),
        });
        let (metrics, task) = (running.metrics(), tokio::spawn(running.run()));
        let running = Running { pipeline, store, metrics, task };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}});
        running.create("namespaces", "", namespace).await;
        running
    }

    async fn create(&self, plural: &'static str, namespace: &str, object: serde_json::Value) {
        let resource = self.pipeline.registry().builtin(&served("", plural));
        let context = Identity::apiserver().context("create");
        self.pipeline.create(&context, ObjectRef::new(&resource, namespace, ""), object).await.unwrap();
    }

    async fn create_map(&self, name: &str) {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ns"}});
        self.create("configmaps", "ns", object).await;
    }

    fn has_map(&self, name: &str) -> bool {
        self.pipeline.registry().peek(served("", "configmaps"), "ns", name).is_some()
    }

    async fn until(&self, what: &str, done: impl Fn(&Running) -> bool) {
        let waits = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waits)
            .await
            .unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    /// Whether every queue is empty and no plan is being executed.
    fn is_idle(&self) -> bool {
        self.metrics.stats().iter().all(|(_, stats)| stats.depth == 0 && stats.unfinished.is_zero())
    }
}

fn copier(suffix: &'static str, panics: usize) -> Registration {
    Registration::new(Copier { suffix, panics: AtomicUsize::new(panics) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_contained_and_retried() {
    let running = Running::start(vec![copier("panics", 3), copier("plain", 0)]).await;
    running.create_map("m").await;
    running.until("both copies", |r| r.has_map("m-panics") && r.has_map("m-plain")).await;
    let stats = running.metrics.stats();
    assert_eq!((stats[0].1.retries, stats[1].1.retries), (3, 0));
    assert!(!running.task.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_controller_delays_no_other() {
    let running = Running::start(vec![copier("slow", 0), copier("fast", 0)]).await;
    for n in 0..100 {
        running.create_map(&format!("m{n}")).await;
    }
    running.until("the fast copies", |r| (0..100).all(|n| r.has_map(&format!("m{n}-fast")))).await;
    assert!((0..100).all(|n| !running.has_map(&format!("m{n}-slow"))));
    running.store.gate.add_permits(100);
    running.until("the slow copies", |r| (0..100).all(|n| r.has_map(&format!("m{n}-slow")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_sees_the_writes_of_the_previous_plan() {
    let running = Running::start(vec![Registration::new(Filler { wanted: 40 })]).await;
    running.create_map("m").await;
    let filled = |r: &Running| {
        let maps = r.pipeline.registry().cache(served("", "configmaps")).list(Some("ns"));
        maps.iter().filter(|map| map.header().labels.contains_key("fill")).count()
    };
    running.until("all are there", |r| filled(r) >= 40 && r.is_idle()).await;
    // The change of a further object, and the end of the work on it, follow everything before.
    let adds = running.metrics.stats()[0].1.adds;
    running.create_map("barrier").await;
    running.until("the barrier is reached", |r| r.metrics.stats()[0].1.adds > adds).await;
    running.until("the work on it is done", Running::is_idle).await;
    assert_eq!(filled(&running), 40);
}
