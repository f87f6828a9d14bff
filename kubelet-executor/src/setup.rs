//! Wiring: from a configuration to a running executor, and from a stop back to a clean machine.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{
        AgentLink,
        http::{Environment, HttpLink, NotSet},
    },
    api::{Api, events::Recorder, https::HttpsApi},
    config::Config,
    machine::lock,
    node::{
        garbage,
        listing::Listing,
        log_rotation,
        pods::Pods,
        task_loop::{End, Node},
        teardown,
    },
    pod::{
        sandbox_config::Resolver,
        shared::{Machine, Shared},
    },
    runtime::{
        Runtime,
        containerd::{self, Standing},
    },
    server,
};

/// How often somebody else's runtime is asked whether it is there.
const EXTERNAL_LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the executor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not started by an agent.
    #[error(transparent)]
    NotStartedByAgent(#[from] NotSet),
    /// Its directory cannot be used.
    #[error("preparing {0}: {1}")]
    Directory(PathBuf, std::io::Error),
    /// The runtime's address is none.
    #[error("the runtime's address")]
    Endpoint(#[from] cri::Error),
    /// Its door cannot be opened.
    #[error("opening the node's door")]
    Door(#[from] server::DoorError),
    /// There is no agent for it any more; containers run on, for a successor to adopt.
    #[error("the agent let go of this executor: {0}")]
    Abandoned(String),
    /// There are no signals.
    #[error("waiting for signals: {0}")]
    Signal(std::io::Error),
}

/// Which runtime to use.
pub enum RuntimeChoice {
    /// The configuration's: somebody else's endpoint, or a private containerd.
    Configured,
    /// This one.
    Given(Arc<dyn Runtime>),
}

/// Everything that an executor is made of; tests put fakes in.
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The way to the agent.
    pub link: Arc<dyn AgentLink>,
    /// The way to the API.
    pub api: Arc<dyn Api>,
    /// The runtime.
    pub runtime: RuntimeChoice,
    /// How long to wait for a lost agent.
    pub recovery_timeout: Duration,
}

/// Runs the executor that an agent started: with the environment's agent, the configuration's API and runtime, until
/// SIGTERM stops the node or the agent ends it.
pub async fn run(config: Config) -> Result<End, RunError> {
    let environment = Environment::read()?;
    let recovery_timeout = environment.recovery_timeout;
    let api = Arc::new(HttpsApi::new(&Arc::new(config.clone())));
    let link = Arc::new(HttpLink::new(environment));
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopper.cancel();
    });
    let runtime = RuntimeChoice::Configured;
    match start(Setup { config, link, api, runtime, recovery_timeout }, stop).await? {
        End::Abandoned(why) => Err(RunError::Abandoned(why)),
        end => Ok(end),
    }
}

/// Runs an executor until `stop` is cancelled or the agent ends it.
pub async fn start(setup: Setup, stop: CancellationToken) -> Result<End, RunError> {
    let config = Arc::new(setup.config);
    let root = &config.root_dir;
    let _lock = match lock::wait(root, &stop).await.map_err(|e| RunError::Directory(root.clone(), e))? {
        Some(lock) => lock,
        None => return Ok(End::Stopped),
    };
    let (standing_sender, standing) =
        watch::channel(Standing::Away("the container runtime is starting".to_owned()));
    let given = matches!(setup.runtime, RuntimeChoice::Given(_));
    let mut supervisor = None;
    let runtime: Arc<dyn Runtime> = match (setup.runtime, &config.cri_endpoint) {
        (RuntimeChoice::Given(runtime), _) => {
            let _ = standing_sender.send(Standing::Ready);
            supervisor = Some(tokio::spawn(async move { standing_sender.closed().await }));
            runtime
        }
        (RuntimeChoice::Configured, Some(endpoint)) => {
            let socket = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
            let client = cri::Client::new(&socket)?;
            let images = config.images_dir();
            tokio::spawn(watch_external(client.clone(), socket, images, standing_sender));
            Arc::new(client)
        }
        (RuntimeChoice::Configured, None) => {
            let client = cri::Client::new(&containerd::Paths::of(&config).socket)?;
            let supervise = containerd::supervise(config.clone(), standing_sender, client.clone());
            supervisor = Some(tokio::spawn(supervise));
            Arc::new(client)
        }
    };
    let shared = Arc::new(Shared {
        tag: config.tag(),
        recorder: Recorder::start(setup.api.clone(), config.node_name.clone()),
        api: setup.api,
        resolver: Resolver::of_machine(),
        machine: Machine::measure(&config.root_dir),
        look_now: Notify::new(),
        stopping: CancellationToken::new(),
        config: config.clone(),
        runtime,
        standing,
    });
    let pods = Arc::new(Pods::default());
    let endpoint = server::open(shared.clone(), pods.clone()).await?;
    tokio::spawn(Listing::new(shared.clone(), pods.clone()).run());
    tokio::spawn(garbage::collect(shared.clone(), pods.clone()));
    tokio::spawn(log_rotation::rotate(shared.clone(), pods.clone()));
    let node = Node::new(shared.clone(), pods, setup.link, endpoint, setup.recovery_timeout);
    let end = node.run(stop).await;
    if !matches!(end, End::Abandoned(_)) {
        if let Some(supervisor) = supervisor {
            // Nobody brings containerd back from here on.
            supervisor.abort();
            let _ = supervisor.await;
        }
        for remnant in teardown::clear(&config, &*shared.runtime, given).await {
            tracing::warn!("left on the machine: {remnant}");
        }
    }
    Ok(end)
}

async fn watch_external(
    client: cri::Client,
    socket: PathBuf,
    images: PathBuf,
    standing: watch::Sender<Standing>,
) {
    let mut was_ready = false;
    loop {
        let now = match client.version(cri::v1::VersionRequest::default()).await {
            Ok(_) => Standing::Ready,
            Err(error) => {
                Standing::Away(format!("container runtime at {} is not ready: {error}", socket.display()))
            }
        };
        if now == Standing::Ready && !was_ready {
            containerd::import_archives(&images, &socket).await;
        }
        was_ready = now == Standing::Ready;
        if *standing.borrow() != now && standing.send(now).is_err() {
            return;
        }
        tokio::time::sleep(EXTERNAL_LOOK_EVERY).await;
    }
}
