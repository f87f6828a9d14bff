//! One machine's agent: [`start`] wires the pure machine of `kernel-core` to a link to the master, to processes, to a
//! checkpoint on disk and to an HTTP door.

mod link;
mod machine;

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kernel_core::agent::{Agent, Config, Event};
use kernel_model::{agent::AgentInfo, ids::AgentId, resources::Attribute};
use tokio::{net::TcpListener, sync::mpsc};

pub use crate::agent_driver::checkpoint_log::LogError;
pub use machine::detect_resources;

use crate::{
    agent_driver::{AgentDriver, AgentQueue, End, checkpoint_log::CheckpointLog},
    agent_http,
    agent_link::Dialer,
    clock::Clock,
    runtime::{ProcessRuntime, RuntimeOptions},
};

/// Outcomes of containers that may wait for the driver; the runtime's tasks wait when it is full.
const OUTCOME_QUEUE_BOUND: usize = 256;

/// How often old sandboxes are looked for.
const GARBAGE_EVERY: Duration = Duration::from_secs(3600);

/// Tries to take the work directory, half a second in all.
const LOCK_TRIES_MAX: u32 = 20;

/// The pause between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Host name, as offers and nodes show it.
    pub hostname: String,
    /// The address under which others reach the HTTP door.
    pub advertise_ip: IpAddr,
    /// Where the HTTP door listens.
    pub listen: SocketAddr,
    /// Sandboxes and the checkpoint live here.
    pub work_dir: PathBuf,
    /// What the machine has, as in `cpus:4;mem:1024;ports:[31000-32000]`; what is not named, or all, is detected.
    pub resources: Option<String>,
    /// What distinguishes the machine.
    pub attributes: Vec<Attribute>,
    /// Variables for every executor.
    pub executor_environment: Vec<(String, String)>,
    /// This program: it runs command tasks as `BINARY command-executor`, and executors find it as `CATAMARAN_BINARY`.
    pub binary: PathBuf,
    /// Whether containers get cgroups where the machine allows it.
    pub limit_tasks: bool,
    /// How long a started executor may take to subscribe.
    pub executor_registration_timeout: Duration,
    /// How long a living executor may take to come back after a restart of the agent. Mesos' default of two seconds
    /// equals the longest back-off of its executor library, which is a close call on a busy machine.
    pub executor_reregistration_timeout: Duration,
}

impl AgentOptions {
    /// Defaults for this machine: everything detected, the door on loopback.
    pub fn new(work_dir: impl Into<PathBuf>, binary: impl Into<PathBuf>) -> Self {
        Self {
            hostname: machine::hostname(),
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
        }
    }
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The work directory cannot be used.
    #[error("agent work directory {0}: {1}")]
    WorkDir(PathBuf, io::Error),
    /// Another agent has it.
    #[error("agent work directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The checkpoint cannot be read.
    #[error("agent checkpoint: {0}")]
    Checkpoint(#[from] LogError),
    /// The address of the door is taken.
    #[error("agent cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The resources are wrong.
    #[error("agent resources: {0}")]
    Resources(#[from] kernel_model::resources::ParseError),
}

/// How an agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownKind {
    /// Everything goes on running; the next agent takes over.
    KeepTasks,
    /// Tasks are killed; respawned executors end, and their tasks start again with the next agent.
    StopTasks,
}

/// A running agent. Dropping it ends the agent as a crash would: what runs goes on.
pub struct AgentHandle {
    queue: AgentQueue,
    runtime: ProcessRuntime,
    local_addr: SocketAddr,
    driver: tokio::task::JoinHandle<End>,
    others: tokio::task::JoinSet<()>,
    _lock: File,
}

/// Starts an agent that reaches its master through `dialer`.
pub async fn start(options: AgentOptions, dialer: Arc<dyn Dialer>) -> Result<AgentHandle, AgentError> {
    let lock = lock(&options.work_dir).await?;
    let listener =
        TcpListener::bind(options.listen).await.map_err(|error| AgentError::Listen(options.listen, error))?;
    let local_addr = listener.local_addr().map_err(|error| AgentError::Listen(options.listen, error))?;
    // Executors are on this machine: where the door listens is what they can reach.
    let reachable = Some(options.listen.ip()).filter(|ip| !ip.is_unspecified());
    let endpoint = SocketAddr::new(reachable.unwrap_or(options.advertise_ip), local_addr.port());
    let resources = machine::resources(options.resources.as_deref(), &options.work_dir)?;
    let info = AgentInfo {
        id: None,
        hostname: options.hostname.clone(),
        ip: options.advertise_ip.to_string(),
        port: local_addr.port(),
        resources,
        attributes: options.attributes.clone(),
    };
    let config = Config {
        executor_registration_timeout: options.executor_registration_timeout,
        executor_reregistration_timeout: options.executor_reregistration_timeout,
        ..Config::new(info, uuid::Uuid::new_v4().as_u64_pair().0)
    };
    let runtime_options = RuntimeOptions {
        work_dir: options.work_dir.clone(),
        endpoint: endpoint.to_string(),
        binary: options.binary.clone(),
        environment: options.executor_environment.clone(),
        shutdown_grace: config.executor_shutdown_grace,
        limit: options.limit_tasks,
    };
    let (outcomes, ended) = mpsc::channel(OUTCOME_QUEUE_BOUND);
    let runtime = ProcessRuntime::new(runtime_options, outcomes);
    let (live, gone) = runtime.recover();
    let (log, records) = CheckpointLog::open(&options.work_dir.join("meta"))?;
    let clock = Clock::start();
    let (agent, effects) = Agent::recover_knowing(config, clock.now(), records, &live, &gone);
    let (queue, inputs) = AgentQueue::new();
    let driver = AgentDriver::new(agent, clock, log, runtime.clone(), inputs);
    let mut others = tokio::task::JoinSet::new();
    others.spawn(link::keep(queue.clone(), dialer));
    others.spawn(collect_garbage(runtime.clone()));
    let door = agent_http::Door::new(queue.clone(), runtime.clone(), &options, clock);
    others.spawn(agent_http::serve(listener, door));
    let driver = tokio::spawn(driver.run(effects, gone.into_iter().collect(), ended));
    Ok(AgentHandle { queue, runtime, local_addr, driver, others, _lock: lock })
}

impl AgentHandle {
    /// Where the HTTP door listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The agent's id, once a master gave it one.
    pub async fn id(&self) -> Option<AgentId> {
        self.queue.read(|agent| agent.id().cloned()).await.ok().flatten()
    }

    /// Executors that run now: those of command tasks, and all others.
    pub async fn still_running(&self) -> (usize, usize) {
        self.queue.read(Agent::still_running).await.unwrap_or_default()
    }

    /// A watch on what still runs that can be kept while the handle is consumed by [`AgentHandle::shutdown`].
    pub fn progress(&self) -> Progress {
        Progress(self.queue.clone())
    }

    /// Waits until the agent ends by itself: the master refused it, or its disk takes no writes. The text says why.
    pub async fn ended(&mut self) -> String {
        match (&mut self.driver).await {
            Ok(End::Refused(message)) => format!("the master refused this agent: {message}"),
            Ok(End::Failed(message)) => message,
            Ok(End::Stopped) => "the agent was stopped".to_owned(),
            Err(error) => format!("the agent failed: {error}"),
        }
    }

    /// Ends the agent. With [`ShutdownKind::StopTasks`] it returns when all has ended; executors have 40 seconds.
    pub async fn shutdown(mut self, kind: ShutdownKind) {
        let told = match kind {
            ShutdownKind::StopTasks => self.queue.event(Event::Stop).await,
            ShutdownKind::KeepTasks => self.queue.leave().await,
        };
        if told.is_ok() {
            let _ = (&mut self.driver).await;
        }
        self.others.shutdown().await;
        if kind == ShutdownKind::StopTasks {
            self.runtime.close();
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// See [`AgentHandle::progress`].
#[derive(Clone)]
pub struct Progress(AgentQueue);

impl Progress {
    /// Executors that run now: those of command tasks, and all others. `None` once the agent has ended.
    pub async fn still_running(&self) -> Option<(usize, usize)> {
        self.0.read(Agent::still_running).await.ok()
    }

    /// Lets a shutdown that is under way wait no longer: what still runs is killed.
    pub async fn hurry(&self) {
        // An agent that has ended has nothing to kill.
        let _ = self.0.event(Event::Stop).await;
    }
}

/// Takes the work directory for this process alone. A child that an agent was just starting when it died may hold the
/// lock until it has become its program: a moment of patience tells it from another agent.
async fn lock(work_dir: &Path) -> Result<File, AgentError> {
    let failed = |error| AgentError::WorkDir(work_dir.to_owned(), error);
    let meta = work_dir.join("meta");
    fs::create_dir_all(&meta).map_err(failed)?;
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

async fn collect_garbage(runtime: ProcessRuntime) {
    loop {
        tokio::time::sleep(GARBAGE_EVERY).await;
        let runtime = runtime.clone();
        let collect = move || {
            let is_live = |name: &str| runtime.pid(&name.into()).is_some();
            runtime.paths().collect_garbage(std::time::SystemTime::now(), is_live);
        };
        if tokio::task::spawn_blocking(collect).await.is_err() {
            tracing::error!("collecting old sandboxes failed");
        }
    }
}
