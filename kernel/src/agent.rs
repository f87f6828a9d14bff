//! The agent: [`start`] connects the state machine of `kernel-core` to a master, the process runtime, the checkpoint on
//! disk and the HTTP server.

mod detection;
mod link;
mod sampling;

use std::{
    fs::{self, DirBuilder, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kernel_core::agent::{Agent, Config, Event};
use kernel_model::{
    agent::AgentInfo,
    ids::{AgentId, ContainerId},
    oversubscription::Oversubscription,
    resources::Attribute,
};
use tokio::{net::TcpListener, sync::mpsc};

pub use crate::agent_driver::checkpoint_log::LogError;
pub use detection::detect_resources;
pub use kernel_core::agent::{STOP_MARGIN, StopProgress};

use crate::{
    access::{Access, RunAsPolicy, executor_tokens::ExecutorTokens},
    agent_driver::{AgentDriver, AgentExit, AgentQueue, checkpoint_log::CheckpointLog},
    agent_http,
    agent_link::Dialer,
    clock::Clock,
    images::ImageRuntime,
    runtime::{Runtime, RuntimeOptions, cgroups},
};

/// Queued container events; the runtime's tasks wait when the queue is full.
const CONTAINER_EVENT_QUEUE_BOUND: usize = 256;

/// Mode of the work directory: users of tasks pass through to their sandboxes.
const WORK_DIR_MODE: u32 = 0o711;

/// How often the container runtime is asked whether it answers. As long, a task with an image may still fail on this machine.
const RUNTIME_ASKED_EVERY: Duration = Duration::from_secs(3);

/// The interval of sandbox garbage collection.
const GARBAGE_EVERY: Duration = Duration::from_secs(3600);

/// How long a stopped agent waits for its link to end: twice what the link may take for its last frames.
const LINK_END_MAX: Duration = Duration::from_secs(2);

/// Attempts to lock the work directory: half a second in all.
const LOCK_TRIES_MAX: u32 = 20;

/// The pause between attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The agent's options.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AgentOptions {
    /// The host name in offers and nodes.
    pub hostname: String,
    /// The address at which others reach the HTTP server.
    pub advertise_ip: IpAddr,
    /// The address of the HTTP server.
    pub listen: SocketAddr,
    /// The directory of sandboxes and of the checkpoint.
    pub work_dir: PathBuf,
    /// Resources as in `cpus:4;mem:1024;ports:[31000-32000]`; resources that are not named are detected.
    pub resources: Option<String>,
    pub attributes: Vec<Attribute>,
    /// Environment variables for every executor.
    pub executor_environment: Vec<(String, String)>,
    /// Path of this program: it runs command tasks as `BINARY command-executor` and task groups as `BINARY
    /// default-executor`, and executors find it as
    /// `CATAMARAN_BINARY`.
    pub binary: PathBuf,
    /// Whether containers run in cgroups, if the machine supports it.
    pub limit_tasks: bool,
    /// How long a started executor has to subscribe.
    pub executor_registration_timeout: Duration,
    /// How long a running executor has to subscribe again after an agent restart. Mesos' default of 2 s equals the
    /// longest back-off of its executor library, which is too short on a busy machine.
    pub executor_reregistration_timeout: Duration,
    /// The longest grace period of a stop; without one, tasks and executors have their own.
    pub stop_grace_max: Option<Duration>,
    /// What is offered beyond the machine's resources, as revocable.
    pub oversubscription: Oversubscription,
    /// Who may use the HTTP API, besides executors with their tokens.
    pub access: Access,
    /// Which users clients of the operator API may run containers as.
    pub run_as: RunAsPolicy,
    /// Runs containers of images; without one, tasks with an image are refused.
    pub images: Option<Arc<dyn ImageRuntime>>,
}

impl AgentOptions {
    /// Defaults: everything detected, the HTTP server on loopback and for executors only.
    pub fn new(work_dir: impl Into<PathBuf>, binary: impl Into<PathBuf>) -> Self {
        Self {
            hostname: detection::hostname(),
            advertise_ip: Ipv4Addr::LOCALHOST.into(),
            listen: (Ipv4Addr::LOCALHOST, 5051).into(),
            work_dir: work_dir.into(),
            resources: None,
            attributes: Vec::new(),
            executor_environment: Vec::new(),
            binary: binary.into(),
            limit_tasks: true,
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(10),
            stop_grace_max: None,
            oversubscription: Oversubscription::default(),
            access: Access::default(),
            run_as: RunAsPolicy::default(),
            images: None,
        }
    }
}

/// An agent that cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AgentError {
    #[error("agent work directory {0}: {1}")]
    WorkDir(PathBuf, io::Error),
    /// Another process has locked it.
    #[error("agent work directory {0} is in use by another process")]
    InUse(PathBuf),
    #[error("agent checkpoint: {0}")]
    Checkpoint(#[from] LogError),
    #[error("agent cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("agent resources: {0}")]
    Resources(#[from] kernel_model::resources::ParseError),
}

/// How an agent shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownKind {
    /// Tasks and executors keep running; the next agent recovers them.
    KeepTasks,
    /// Tasks are killed; respawned executors terminate, and their tasks start again with the next agent.
    StopTasks,
}

/// A running agent. Dropping it stops the agent like a crash: its executors keep running.
pub struct AgentHandle {
    queue: AgentQueue,
    runtime: Runtime,
    local_addr: SocketAddr,
    endpoint: SocketAddr,
    driver: tokio::task::JoinHandle<AgentExit>,
    link: tokio::task::JoinHandle<()>,
    clock: Clock,
    others: tokio::task::JoinSet<()>,
    _lock: File,
}

/// Removes the control groups of tasks that a killed agent has left, for a stop before the next agent starts.
pub fn remove_empty_cgroups() {
    cgroups::remove_empty_parents();
}

/// Kills the tasks and executors that a killed agent with this work directory has left running, and returns how many they were.
/// The next start of the agent reports their ends. An executor that respawns is not killed: its runtime stops it in order.
pub fn kill_orphans(work_dir: &Path) -> usize {
    Runtime::kill_recorded(work_dir)
}

/// Starts an agent that connects to its master through `dialer`.
pub async fn start(options: AgentOptions, dialer: Arc<dyn Dialer>) -> Result<AgentHandle, AgentError> {
    let lock = lock(&options.work_dir).await?;
    let listener =
        TcpListener::bind(options.listen).await.map_err(|error| AgentError::Listen(options.listen, error))?;
    let local_addr = listener.local_addr().map_err(|error| AgentError::Listen(options.listen, error))?;
    // Executors are local: they can use the listening address.
    let reachable = Some(options.listen.ip()).filter(|ip| !ip.is_unspecified());
    let endpoint = SocketAddr::new(reachable.unwrap_or(options.advertise_ip), local_addr.port());
    let resources = detection::resources(options.resources.as_deref(), &options.work_dir)?;
    let info = AgentInfo {
        id: None,
        hostname: options.hostname.clone(),
        ip: options.advertise_ip.to_string(),
        port: local_addr.port(),
        resources,
        attributes: options.attributes.clone(),
        runs_images: options.images.is_some(),
        operations: Default::default(),
    };
    let config = Config {
        executor_registration_timeout: options.executor_registration_timeout,
        executor_reregistration_timeout: options.executor_reregistration_timeout,
        stop_grace_max: options.stop_grace_max,
        oversubscription: options.oversubscription.clone(),
        ..Config::new(info, uuid::Uuid::new_v4().as_u64_pair().0)
    };
    let tokens = ExecutorTokens::open(&options.work_dir.join("meta"))
        .map_err(|error| AgentError::WorkDir(options.work_dir.clone(), error))?;
    let runtime_options = RuntimeOptions {
        work_dir: options.work_dir.clone(),
        endpoint: endpoint.to_string(),
        binary: options.binary.clone(),
        environment: options.executor_environment.clone(),
        shutdown_grace: config.executor_shutdown_grace,
        limit: options.limit_tasks,
        tokens: tokens.clone(),
        images: options.images.clone(),
    };
    let (container_events, ended) = mpsc::channel(CONTAINER_EVENT_QUEUE_BOUND);
    let runtime = Runtime::new(runtime_options, container_events);
    let (live, gone) = runtime.recover();
    let (log, records) = CheckpointLog::open(&options.work_dir.join("meta"))?;
    let clock = Clock::start();
    let (agent, effects) = Agent::recover_with_ended(config, clock.now(), records, &live, &gone);
    if !agent.unmet_resources().is_empty() {
        let resources = agent.unmet_resources();
        tracing::warn!(%resources, "the machine has not enough resources any more for what operations have made");
    }
    let (queue, inputs) = AgentQueue::new();
    let driver = AgentDriver::new(agent, clock, log, runtime.clone(), inputs);
    let mut others = tokio::task::JoinSet::new();
    let link = tokio::spawn(link::keep(queue.clone(), dialer));
    others.spawn(collect_garbage(runtime.clone()));
    if let Some(every) = options.oversubscription.sample_every() {
        others.spawn(sampling::run(queue.clone(), runtime.clone(), every));
    }
    if let Some(images) = options.images.clone() {
        others.spawn(watch_container_runtime(queue.clone(), images));
    }
    let handlers = agent_http::Handlers::new(queue.clone(), runtime.clone(), &options, tokens, clock);
    others.spawn(agent_http::serve(listener, handlers));
    let driver = tokio::spawn(driver.run(effects, gone.into_iter().collect(), ended));
    Ok(AgentHandle { queue, runtime, local_addr, endpoint, driver, link, clock, others, _lock: lock })
}

impl AgentHandle {
    /// The address of the HTTP server.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address at which this machine reaches the HTTP server.
    pub fn reachable_at(&self) -> SocketAddr {
        self.endpoint
    }

    /// The agent's id, once registered.
    pub async fn id(&self) -> Option<AgentId> {
        self.queue.read(|agent| agent.id().cloned()).await.ok().flatten()
    }

    /// A handle on what a stop waits for, which outlives [`AgentHandle::shutdown`].
    pub fn progress(&self) -> Progress {
        Progress { queue: self.queue.clone(), clock: self.clock }
    }

    /// Waits until the agent stops by itself, because the master refused it or the disk takes no writes. Returns the
    /// reason.
    pub async fn ended(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(AgentExit::Refused(message)) => format!("the master refused this agent: {message}"),
            Ok(AgentExit::Failed(message)) => message,
            Ok(AgentExit::Stopped) => "the agent was stopped".to_owned(),
            Err(error) => format!("the agent failed: {error}"),
        }
    }

    /// Stops the agent. With [`ShutdownKind::StopTasks`] it returns when all executors have terminated, for which they
    /// have the grace periods of their tasks, and when the master has been told.
    pub async fn shutdown(mut self, kind: ShutdownKind) {
        let sent = match kind {
            ShutdownKind::StopTasks => {
                self.runtime.close_images();
                self.queue.event(Event::Stop).await
            }
            ShutdownKind::KeepTasks => self.queue.leave().await,
        };
        if sent.is_ok() {
            let _ = (&mut self.driver).await;
        }
        // What was sent last is still written.
        let _ = tokio::time::timeout(LINK_END_MAX, &mut self.link).await;
        self.others.shutdown().await;
        if kind == ShutdownKind::StopTasks {
            self.runtime.stop_standalone().await;
            self.runtime.close();
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.runtime.abandon();
        self.driver.abort();
        self.link.abort();
    }
}

/// See [`AgentHandle::progress`].
#[derive(Clone)]
pub struct Progress {
    queue: AgentQueue,
    clock: Clock,
}

impl Progress {
    /// What a stop waits for, and how long it does at most. `None` once the agent has stopped.
    pub async fn waits_for(&self) -> Option<(StopProgress, Duration)> {
        let progress = self.queue.read(Agent::stop_progress).await.ok()?;
        let left = progress.deadline.map(|deadline| deadline.since(self.clock.now())).unwrap_or_default();
        Some((progress, left))
    }

    /// Kills what still runs during a shutdown.
    pub async fn shutdown_now(&self) {
        // A stopped agent has nothing to kill.
        let _ = self.queue.event(Event::Stop).await;
    }
}

/// Locks the work directory. A child that a crashed agent was starting can hold the lock until it calls exec, so the
/// attempt repeats for a moment.
async fn lock(work_dir: &Path) -> Result<File, AgentError> {
    let failed = |error| AgentError::WorkDir(work_dir.to_owned(), error);
    let meta = work_dir.join("meta");
    DirBuilder::new().recursive(true).mode(WORK_DIR_MODE).create(&meta).map_err(failed)?;
    // The checkpoint contains the environment of tasks, and the key of executor tokens.
    fs::set_permissions(&meta, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(meta.join("lock")).map_err(failed)?;
    for _ in 0..LOCK_TRIES_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(AgentError::InUse(work_dir.to_owned()))
}

/// Tells the agent whether the container runtime answers, so that the master refuses what could only fail.
async fn watch_container_runtime(queue: AgentQueue, images: Arc<dyn ImageRuntime>) {
    let mut told = None;
    loop {
        let failure = images.unavailable().await;
        if told.as_ref() != Some(&failure) {
            if let Some(why) = &failure {
                tracing::warn!("no containers of images are started: {why}");
            }
            told = Some(failure.clone());
            if queue.event(Event::ContainerRuntime { failure }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RUNTIME_ASKED_EVERY).await;
    }
}

async fn collect_garbage(runtime: Runtime) {
    loop {
        tokio::time::sleep(GARBAGE_EVERY).await;
        let runtime = runtime.clone();
        let collect = move || {
            let is_live = |name: &str| runtime.pid(ContainerId::from(name)).is_some();
            runtime.paths().collect_garbage(std::time::SystemTime::now(), is_live);
        };
        if tokio::task::spawn_blocking(collect).await.is_err() {
            tracing::error!("collecting old sandboxes failed");
        }
    }
}
