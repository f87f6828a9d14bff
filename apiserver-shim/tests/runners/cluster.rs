//! An API server in one process: a real master, simulated agents, an in-memory store, and the auditor, which runs
//! while tests wait.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use apiserver_shim::auth::authentication::TokenKey;
use apiserver_shim::metrics;
use apiserver_shim::node_endpoints::NodeEndpoints;
use apiserver_shim::pipeline::{Identity, ObjectRef, Pipeline, RequestContext};
use apiserver_shim::scheduler::SchedulerConfiguration;
use apiserver_shim::server::runners::{self, RunnersHandle, RunnersOptions};
use apiserver_shim::storage::deletion::DeleteOptions;
use apiserver_shim::storage::object::Object;
use apiserver_shim::storage::pod_cidrs::{ClusterCidr, PodCidrs};
use apiserver_shim::storage::registry::Registry;
use kernel::access::Access;
use kernel::driver::SchedulerDriver;
use kernel::hollow::{HollowHandle, HollowOptions};
use kernel::server::{MasterHandle, MasterOptions};
use kernel_model::task::{TaskInfo, TaskState};
use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_model::resource::GroupResource;
use store::{MemoryStore, Store};

use crate::auditing::Auditor;

/// Timeout of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub master: MasterHandle,
    pub pipeline: Pipeline,
    pub endpoints: NodeEndpoints,
    pub runners: Option<RunnersHandle>,
    pub hollow: Option<HollowHandle>,
    pub cluster_cidr: ClusterCidr,
    /// The metrics registry of the latest runners.
    pub metrics: metrics::Registry,
    auditor: tokio::sync::Mutex<Auditor>,
}

/// A master whose tasks the tests may read without credentials.
pub fn master_options(store: &Arc<dyn Store>) -> MasterOptions {
    let options = MasterOptions::new(store.clone(), "127.0.0.1:0".parse().unwrap());
    MasterOptions { access: Access::default().or_anonymous(false), ..options }
}

/// What a simulated executor reports for a Pod.
pub fn hollow_options() -> HollowOptions {
    let mut options = HollowOptions::new();
    // Each Pod needs its own address, which the auditor checks.
    let addresses = Mutex::new(BTreeMap::<String, usize>::new());
    let data = move |task: &TaskInfo, state: TaskState| -> bytes::Bytes {
        let pod: Value = serde_json::from_slice(&task.data).unwrap_or_default();
        let ready = if state == TaskState::Running { "True" } else { "False" };
        let phase = if state == TaskState::Running { "Running" } else { "Pending" };
        let uid = pod["metadata"]["uid"].as_str().unwrap_or("");
        let n = {
            let mut addresses = addresses.lock().unwrap();
            let fresh = addresses.len();
            *addresses.entry(uid.to_owned()).or_insert(fresh)
        };
        let status = json!({
            "phase": phase,
            "podIP": format!("10.244.{}.{}", n / 250, n % 250 + 1),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        });
        if state.is_terminal() {
            return Default::default();
        }
        serde_json::to_vec(&json!({"status": status, "endpoint": "127.0.0.1:10250"})).unwrap().into()
    };
    options.status_data =
        Arc::new(move |_, task, states| states.iter().map(|state| data(task, *state)).collect());
    options
}

/// The key of service accounts' tokens, in PEM.
pub fn service_account_key() -> &'static str {
    static KEY: LazyLock<String> = LazyLock::new(|| shim_pki::authority::service_account_key().unwrap());
    &KEY
}

impl Cluster {
    pub async fn start(machines: u32) -> Cluster {
        Cluster::start_with(machines, |_| ()).await
    }

    pub async fn start_with(machines: u32, edit: impl FnOnce(&mut MasterOptions)) -> Cluster {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut options = master_options(&store);
        edit(&mut options);
        Cluster::start_on(&store, machines, options).await
    }

    /// Starts a cluster on an existing store.
    pub async fn start_on(store: &Arc<dyn Store>, machines: u32, options: MasterOptions) -> Cluster {
        let master = kernel::server::start(options).await.unwrap();
        let registry = Registry::open(store.clone()).await.unwrap();
        let hollow = kernel::hollow::start(machines, &master, hollow_options());
        let mut cluster = Cluster::of(master, registry, Some(hollow));
        cluster.create("", "namespaces", "", json!({"kind": "Namespace", "metadata": {"name": "ns"}})).await;
        cluster.run();
        cluster
    }

    /// A cluster of these parts, without controllers and scheduler.
    pub fn of(master: MasterHandle, registry: Registry, hollow: Option<HollowHandle>) -> Cluster {
        Cluster {
            master,
            pipeline: Pipeline::new(registry),
            endpoints: NodeEndpoints::default(),
            runners: None,
            hollow,
            cluster_cidr: ClusterCidr::new("10.0.0.0/8".parse().unwrap(), 24).unwrap(),
            metrics: metrics::Registry::default(),
            auditor: Default::default(),
        }
    }

    pub fn run(&mut self) {
        self.run_with(Arc::new(self.master.in_process_driver()));
    }

    /// Starts controllers and scheduler with this driver for the master.
    pub fn run_with(&mut self, driver: Arc<dyn SchedulerDriver>) {
        self.run_configured(driver, SchedulerConfiguration::default());
    }

    /// Like [`Cluster::run_with`], with a scheduler configuration.
    pub fn run_configured(
        &mut self,
        driver: Arc<dyn SchedulerDriver>,
        configuration: SchedulerConfiguration,
    ) {
        self.runners = None;
        self.metrics = metrics::Registry::default();
        self.runners = Some(runners::start(RunnersOptions {
            pipeline: self.pipeline.clone(),
            driver,
            roles: None,
            node_endpoints: self.endpoints.clone(),
            pod_cidrs: PodCidrs::new(self.registry().store().clone(), self.cluster_cidr),
            scheduler_configuration: configuration,
            metrics: self.metrics.clone(),
            ca_pem: "certificate".to_owned(),
            components: Default::default(),
            service: None,
            signer: None,
            token_signer: Some(Arc::new(TokenKey::parse(service_account_key()).unwrap())),
        }));
    }

    pub fn registry(&self) -> &Registry {
        self.pipeline.registry()
    }

    pub async fn create(&self, group: &str, plural: &str, namespace: &str, mut object: Value) {
        let catalog = self.registry().catalog();
        let resource = catalog.iter().find(|r| r.is(group, plural)).expect("it is served");
        object["apiVersion"] = json!(resource.api_version());
        let target = ObjectRef::new(resource, namespace, "");
        let made = self.pipeline.create(&context("create"), target, object).await;
        made.unwrap_or_else(|status| panic!("{status:?}"));
    }

    pub fn list(&self, group: &str, plural: &str) -> Vec<Value> {
        self.registry()
            .cache(GroupResource::new(group, plural))
            .list(None)
            .iter()
            .map(|o: &Arc<Object>| o.value())
            .collect()
    }

    pub fn pods(&self) -> Vec<Value> {
        self.list("", "pods")
    }

    pub async fn edit(&self, group: &str, plural: &str, name: &str, edit: impl Fn(&mut Value) + Send + Sync) {
        let resource = self.registry().builtin(&GroupResource::new(group, plural));
        let (context, target) = (context("update"), ObjectRef::new(&resource, "ns", name));
        let edited = self.pipeline.update_with(&context, target, |object| {
            let mut object = object.clone();
            edit(&mut object);
            Ok(object)
        });
        edited.await.unwrap();
    }

    pub async fn delete(&self, group: &str, plural: &str, namespace: &str, name: &str) {
        let options = DeleteOptions {
            propagation: Some(apiserver_shim::storage::deletion::Propagation::Background),
            ..DeleteOptions::default()
        };
        let resource = self.registry().builtin(&GroupResource::new(group, plural));
        let target = ObjectRef::new(&resource, namespace, name);
        self.pipeline.delete(&context("delete"), target, &options).await.unwrap();
    }

    pub async fn until(&self, what: &str, done: impl Fn(&Cluster) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            if begun.elapsed() > TIMEOUT {
                let pods: Vec<String> = self.pods().iter().map(Value::to_string).collect();
                panic!("timed out: {what}; pods: {pods:#?}");
            }
            self.auditor.lock().await.look(self).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.auditor.lock().await.look(self).await;
    }

    /// Tells the auditor that the test binds Pods itself, so that violations may exist until the node rejects them.
    pub async fn binds_by_hand(&self) {
        self.auditor.lock().await.binds_by_hand = true;
    }

    /// Waits until objects and tasks agree.
    pub async fn audited(&self) {
        self.auditor.lock().await.rest(self).await;
    }

    pub fn running(&self) -> usize {
        let pods = self.registry().cache(served("", "pods"));
        let runs = |o: &&Arc<Object>| {
            o.field("status.phase") == Some("Running")
                && o.field("spec.nodeName").is_some_and(|n| !n.is_empty())
        };
        pods.view().iter(None).filter(runs).count()
    }

    pub async fn tasks(&self) -> usize {
        let response = http_get(self.master.mesos_address(), "/master/tasks").await;
        let body: Value = serde_json::from_str(&response).unwrap_or_default();
        let alive = |t: &&Value| {
            matches!(t["state"].as_str(), Some("TASK_RUNNING" | "TASK_STAGING" | "TASK_STARTING"))
        };
        body["tasks"].as_array().map_or(0, |t| t.iter().filter(alive).count())
    }
}

/// The context of a test's write.
pub fn context(verb: &'static str) -> RequestContext {
    Identity::apiserver().context(verb)
}

/// Sends a minimal HTTP GET.
pub async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
}

pub fn deployment(replicas: i64) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
    })
}

pub fn trace() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
