//! Starts and stops a master.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};

use kernel_core::master::{Master, MasterConfig, OperatorCall, RunAsPolicy};
use kernel_model::{ids::MasterId, roles::Role, scheduler::MasterInfo};
use store::Store;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use transport::server::{Peer, ServerOptions, Tls};

use crate::{
    access::Access,
    agent_link::{InProcessDialer, JoinAuthority},
    clock::Clock,
    driver::InProcessDriver,
    http::Handlers,
    master_driver::{Counters, MasterDriver, MasterQueue},
    registry_store::{self, RegistryError},
};

/// The Mesos version that the API implements, as told to clients.
pub const MESOS_VERSION: &str = "1.11.0";

/// Concurrent connections: each costs some ten KiB while idle.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// How long a client may read nothing of what is sent to it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// How long sent bytes may stay unacknowledged: a vanished peer loses its connection after four heartbeats.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// The master's options.
#[derive(Clone)]
pub struct MasterOptions {
    /// The store of the registry.
    pub store: Arc<dyn Store>,
    /// The address for frameworks, operators and agents; port 0 selects a free port.
    pub mesos_listen: SocketAddr,
    /// The host name told to clients.
    pub hostname: String,
    /// The address told to clients; `None` means the listening one, or loopback if that is unspecified.
    pub advertise_ip: Option<std::net::IpAddr>,
    /// The interval of heartbeats on streams.
    pub heartbeat_interval: Duration,
    /// The interval of pings to agents.
    pub agent_ping_interval: Duration,
    /// How many consecutive unanswered pings make an agent unreachable.
    pub agent_ping_timeouts: u32,
    /// How long an agent has to re-register after a disconnection, or after a restart of the master.
    pub agent_reregister_timeout: Duration,
    /// How long an offer stays valid; `None` means forever.
    pub offer_timeout: Option<Duration>,
    /// See `MasterConfig::preempt_after`.
    pub preempt_after: Option<Duration>,
    /// TLS for agents on other machines; `None` accepts none.
    pub agent_endpoint: Option<AgentEndpoint>,
    /// The content of `/flags`.
    pub flags: Vec<(String, String)>,
    /// Who may use the HTTP API.
    pub access: Access,
    /// The users that frameworks may run tasks as.
    pub run_as: RunAsPolicy,
}

impl MasterOptions {
    /// Mesos' defaults, except that nobody may use the HTTP API.
    pub fn new(store: Arc<dyn Store>, mesos_listen: SocketAddr) -> Self {
        Self {
            store,
            mesos_listen,
            hostname: "localhost".to_owned(),
            advertise_ip: None,
            heartbeat_interval: Duration::from_secs(15),
            agent_ping_interval: Duration::from_secs(15),
            agent_ping_timeouts: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            offer_timeout: None,
            preempt_after: None,
            agent_endpoint: None,
            flags: Vec::new(),
            access: Access::default(),
            run_as: RunAsPolicy::default(),
        }
    }
}

/// TLS for agents on other machines, and the authority that admits them.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct AgentEndpoint {
    /// Requests client certificates without requiring them: joining machines have none.
    pub tls: Arc<rustls::ServerConfig>,
    pub authority: Arc<dyn JoinAuthority>,
}

/// A master that cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Weights that were refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WeightsError {
    /// An invalid role name.
    #[error(transparent)]
    Role(#[from] kernel_model::roles::InvalidRole),
    #[error("the master refuses: {0}")]
    Refused(String),
}

/// A running master; dropping the handle stops it.
pub struct MasterHandle {
    queue: MasterQueue,
    address: SocketAddr,
    info: MasterInfo,
    stop: watch::Sender<bool>,
    /// `None` once it has been awaited.
    driver: Option<JoinHandle<Result<(), store::Error>>>,
    listener: JoinHandle<()>,
    stop_listening: CancellationToken,
}

/// Loads the registry, starts the master and opens its port.
pub async fn start(options: MasterOptions) -> Result<MasterHandle, StartError> {
    let refused = |source| StartError::Listen { address: options.mesos_listen, source };
    let listener = TcpListener::bind(options.mesos_listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let counters: Arc<Counters> = Arc::default();
    let registry = registry_store::load(&*options.store, &counters.registrar).await?;
    let info = master_info(&options, address);
    let config = MasterConfig {
        ping_interval: options.agent_ping_interval,
        ping_timeouts: options.agent_ping_timeouts,
        agent_reregister_timeout: options.agent_reregister_timeout,
        offer_timeout: options.offer_timeout,
        preempt_after: options.preempt_after,
        run_as: RunAsPolicy { anonymous_root: options.access.anonymous_root(), ..options.run_as },
        ..MasterConfig::new(info.clone())
    };
    let clock = Clock::start();
    let (queue, commands) = MasterQueue::new();
    let (stop, stopped) = watch::channel(false);
    let master = Master::new(config, registry);
    let driver =
        MasterDriver::new(master, clock, options.store, commands, Arc::clone(&counters), stopped.clone());
    let (tls, authority) = match options.agent_endpoint {
        Some(endpoint) => (Some(endpoint.tls), Some(endpoint.authority)),
        None => (None, None),
    };
    let handlers = Arc::new(Handlers {
        queue: queue.clone(),
        info: info.clone(),
        heartbeat: options.heartbeat_interval,
        flags: options.flags,
        counters,
        clock,
        access: options.access,
        authority,
        bodies: Arc::default(),
    });
    let driver = Some(tokio::spawn(driver.run()));
    let stop_listening = CancellationToken::new();
    let make_service = move |peer: &Peer| {
        let (handlers, peer) = (handlers.clone(), peer.clone());
        Ok(service_fn(move |request: Request<Incoming>| {
            let (handlers, peer) = (handlers.clone(), peer.clone());
            async move { Ok::<_, Infallible>(handlers.serve(peer, request).await) }
        }))
    };
    let tls = tls.map_or(Tls::Plain, Tls::Detected);
    let options = server_options("master", CONNECTIONS_MAX);
    let listener = transport::server::serve(listener, tls, options, make_service, stop_listening.clone());
    let listener = tokio::spawn(listener);
    Ok(MasterHandle { queue, address, info, stop, driver, listener, stop_listening })
}

/// How both Mesos servers, the master's and the agent's, treat their connections. Idle ones are kept: Mesos' client library
/// takes the loss of a connection for the loss of the master.
pub(crate) fn server_options(name: &'static str, connections_max: usize) -> ServerOptions {
    ServerOptions {
        write_stall_timeout: Some(WRITE_STALL_MAX),
        unacknowledged_max: Some(UNACKNOWLEDGED_MAX),
        title_case_headers: true,
        ..ServerOptions::new(name, connections_max)
    }
}

fn master_info(options: &MasterOptions, address: SocketAddr) -> MasterInfo {
    let listening = Some(address.ip()).filter(|ip| !ip.is_unspecified());
    let ip = options.advertise_ip.or(listening).unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
    MasterInfo {
        id: MasterId::from(uuid::Uuid::new_v4().to_string()),
        hostname: options.hostname.clone(),
        ip: ip.to_string(),
        port: address.port(),
        version: MESOS_VERSION.to_owned(),
    }
}

impl MasterHandle {
    /// A driver for schedulers in this process.
    pub fn in_process_driver(&self) -> InProcessDriver {
        InProcessDriver::new(self.queue.clone())
    }

    /// A dialer for agents in this process.
    pub fn attach_agent(&self) -> InProcessDialer {
        InProcessDialer::new(self.queue.clone())
    }

    /// Sets the weights of roles by name, like UPDATE_WEIGHTS. Weights must be positive.
    pub async fn set_weights(&self, weights: &[(String, f64)]) -> Result<(), WeightsError> {
        let weights = weights
            .iter()
            .map(|(role, weight)| Ok((Role::parse(role)?, *weight)))
            .collect::<Result<_, kernel_model::roles::InvalidRole>>()?;
        let answer = self.queue.operator(OperatorCall::UpdateWeights { weights }).await;
        answer.map(drop).map_err(|call_error| WeightsError::Refused(call_error.to_string()))
    }

    pub(crate) fn queue(&self) -> &MasterQueue {
        &self.queue
    }

    /// The bound address.
    pub fn mesos_address(&self) -> SocketAddr {
        self.address
    }

    /// The master's description for clients.
    pub fn info(&self) -> &MasterInfo {
        &self.info
    }

    /// Waits until the master stops by itself, which happens only if its registry takes no writes. Returns the reason.
    /// The caller should end the process: nothing serves the API any more, and a new master recovers from the registry.
    pub async fn failed(&mut self) -> String {
        let Some(driver) = &mut self.driver else { return std::future::pending().await };
        let ended = driver.await;
        self.driver = None;
        match ended {
            Ok(Err(error)) => format!("the master's registry cannot be written: {error}"),
            Ok(Ok(())) => "the master was stopped".to_owned(),
            Err(error) => format!("the master failed: {error}"),
        }
    }

    /// Closes all streams, links and connections, and waits for the master's task.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(driver) = self.driver.take() {
            log_panic(driver.await.map(drop));
        }
        self.stop_listening.cancel();
        log_panic((&mut self.listener).await);
    }
}

/// Logs a panic; other errors were logged where they happened.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the master failed");
    }
}

impl Drop for MasterHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.stop_listening.cancel();
    }
}
