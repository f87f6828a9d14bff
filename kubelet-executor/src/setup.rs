//! Wires the executor from its configuration, and runs the teardown at its end.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{
        AgentLink,
        http::{Environment, EnvironmentError, HttpLink},
    },
    api::{Api, events::Recorder, kube_api::KubeApi},
    config::Config,
    machine::{cluster_dns, host_address, lock, virtual_addresses},
    metrics::Metrics,
    node::{
        eviction, garbage, log_rotation,
        pleg::Pleg,
        pods::Pods,
        task_loop::{ExitReason, Node},
        teardown,
    },
    pod::{
        context::{self, MachineCapacity, NodeContext},
        ledger::Ledger,
        sandbox_config::Resolver,
        task_resources::TaskResources,
    },
    runtime::{
        Runtime,
        archives::Archives,
        containerd::{self, RuntimeState},
    },
    server,
    stop_signals::stop_signals,
    task_container,
};

/// How often an external runtime is checked.
const EXTERNAL_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Why the executor cannot run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RunError {
    #[error(transparent)]
    NotStartedByAgent(#[from] EnvironmentError),
    /// The node's directory cannot be used.
    #[error("preparing {0}: {1}")]
    Directory(PathBuf, std::io::Error),
    /// The runtime's address is malformed.
    #[error("malformed runtime endpoint")]
    Endpoint(#[from] cri::Error),
    #[error("cannot start the node's server")]
    Server(#[from] server::ServerError),
    #[error("malformed URL of the API server")]
    ApiServer(#[from] http::uri::InvalidUri),
    /// There is no agent for it any more; containers keep running for a successor to adopt.
    #[error("the agent abandoned this executor: {0}")]
    Abandoned(String),
    #[error("cannot install signal handlers: {0}")]
    Signal(std::io::Error),
}

/// The runtime of an executor.
#[allow(missing_docs)]
pub enum RuntimeChoice {
    /// From the configuration: an external endpoint, or a private containerd.
    Configured,
    Given(Arc<dyn Runtime>),
}

/// The parts of an executor; tests replace them with fakes.
#[allow(missing_docs)]
pub struct Setup {
    pub config: Config,
    pub link: Arc<dyn AgentLink>,
    pub api: Arc<dyn Api>,
    pub runtime: RuntimeChoice,
    /// The address of Pods on the host network.
    pub host_ip: String,
    /// How long to wait for a lost agent.
    pub recovery_timeout: Duration,
}

/// Runs the executor that an agent started, until SIGTERM stops the node or the agent ends it.
pub async fn run(config: Config) -> Result<ExitReason, RunError> {
    let environment = Environment::read()?;
    let recovery_timeout = environment.recovery_timeout;
    let api = Arc::new(KubeApi::new(&Arc::new(config.clone()))?);
    let link = Arc::new(HttpLink::new(environment));
    let stop = stop_signals().map_err(RunError::Signal)?;
    let runtime = RuntimeChoice::Configured;
    let host_ip = host_address::of(&config).await;
    match start(Setup { config, link, api, runtime, host_ip, recovery_timeout }, stop).await? {
        ExitReason::Abandoned(why) => Err(RunError::Abandoned(why)),
        end => Ok(end),
    }
}

/// Runs an executor until `stop` is cancelled or the agent ends it.
pub async fn start(setup: Setup, stop: CancellationToken) -> Result<ExitReason, RunError> {
    let config = Arc::new(setup.config);
    let root = &config.root_dir;
    let locked = lock::wait(root, &stop).await.map_err(|e| RunError::Directory(root.clone(), e))?;
    let Some(_lock) = locked else { return Ok(ExitReason::Stopped) };
    let (state_sender, runtime_state) =
        watch::channel(RuntimeState::Unavailable("the container runtime is starting".to_owned()));
    let metrics = Arc::new(Metrics::new(&config.node_name));
    let given = matches!(setup.runtime, RuntimeChoice::Given(_));
    let services = (!given).then(|| start_services(&config, setup.api.client(), &setup.host_ip));
    let mut supervisor = None;
    let runtime: Arc<dyn Runtime> = match (setup.runtime, &config.cri_endpoint) {
        (RuntimeChoice::Given(runtime), _) => {
            let _ = state_sender.send(RuntimeState::Ready);
            supervisor = Some(tokio::spawn(async move { state_sender.closed().await }));
            runtime
        }
        (RuntimeChoice::Configured, Some(endpoint)) => {
            let socket = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
            let client = cri::Client::new(&socket)?.observed_by(metrics.call_observer());
            tokio::spawn(watch_external(client.clone(), socket, config.images_dir(), state_sender));
            Arc::new(client)
        }
        (RuntimeChoice::Configured, None) => {
            let client = cri::Client::new(&containerd::Paths::of(&config).socket)?;
            let client = client.observed_by(metrics.call_observer());
            let supervise = containerd::supervise(config.clone(), state_sender, client.clone());
            supervisor = Some(tokio::spawn(supervise));
            Arc::new(client)
        }
    };
    let context = Arc::new(NodeContext {
        tag: config.tag(),
        recorder: Recorder::start(setup.api.clone(), config.node_name.clone()),
        api: setup.api,
        metrics,
        resolver: Resolver::of_machine(),
        capacity: MachineCapacity::measure(&config.root_dir),
        allocatable: Mutex::default(),
        disk_pressure: watch::Sender::new(false),
        ledger: Ledger::default(),
        image_mounts: tokio::sync::Mutex::default(),
        task_resources: TaskResources::new(setup.link.clone()),
        capabilities: context::capabilities(&config),
        relist: Notify::new(),
        stop_grace_max: std::sync::OnceLock::new(),
        stopping: CancellationToken::new(),
        config: config.clone(),
        host_ip: setup.host_ip,
        runtime,
        runtime_state,
    });
    let pods = Arc::new(Pods::default());
    let server = server::start(context.clone(), pods.clone()).await?;
    start_loops(&context, &pods);
    let node = Node::new(context.clone(), pods, setup.link, server.endpoint.clone(), setup.recovery_timeout);
    let reason = node.run(stop).await;
    server.stop.cancel();
    if !matches!(reason, ExitReason::Abandoned(_)) {
        task_container::wait_until_ended(&config).await;
        // From here on nothing restarts containerd or sets rules.
        end([supervisor, services]).await;
        for resource in teardown::teardown(&config, &*context.runtime, given).await {
            tracing::warn!("left on the machine: {resource}");
        }
    }
    server.wait().await;
    Ok(reason)
}

async fn end(tasks: [Option<JoinHandle<()>>; 2]) {
    for task in tasks.into_iter().flatten() {
        task.abort();
        let _ = task.await;
    }
}

/// Starts what makes Services reachable by address and by name. Returns the task that sets rules.
fn start_services(config: &Arc<Config>, client: Option<kube::Client>, host_ip: &str) -> JoinHandle<()> {
    let (zone, names) = watch::channel(None);
    if let Some(address) = config.cluster_dns() {
        tokio::spawn(cluster_dns::serve(address, names, Resolver::of_machine().servers));
    }
    let address = host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    tokio::spawn(virtual_addresses::keep(config.clone(), client, zone, address))
}

/// Starts what runs beside the task loop until the process ends.
fn start_loops(context: &Arc<NodeContext>, pods: &Arc<Pods>) {
    tokio::spawn(Pleg::new(context.clone(), pods.clone()).run());
    tokio::spawn(garbage::collect(context.clone(), pods.clone()));
    tokio::spawn(log_rotation::rotate(context.clone(), pods.clone()));
    tokio::spawn(eviction::watch(context.clone(), pods.clone()));
}

async fn watch_external(
    client: cri::Client,
    socket: PathBuf,
    images: PathBuf,
    runtime_state: watch::Sender<RuntimeState>,
) {
    let record = images.join(".imported");
    let mut archives = Archives::open(images, socket.clone(), record);
    loop {
        let now = match client.version(cri::v1::VersionRequest::default()).await {
            Ok(_) => RuntimeState::Ready,
            Err(error) => RuntimeState::Unavailable(format!(
                "container runtime at {} is not ready: {error}",
                socket.display()
            )),
        };
        if now == RuntimeState::Ready {
            archives.import_new().await;
        }
        if *runtime_state.borrow() != now && runtime_state.send(now).is_err() {
            return;
        }
        tokio::time::sleep(EXTERNAL_POLL_INTERVAL).await;
    }
}
