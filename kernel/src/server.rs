//! Starting and stopping a master: the one public entrance of its shell.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kernel_core::master::{Master, MasterConfig, OperatorCall};
use kernel_model::{ids::MasterId, roles::Role, scheduler::MasterInfo};
use store::Store;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    agent_link::{InProcessDialer, JoinAuthority},
    clock::Clock,
    driver::InProcessDriver,
    http::Doors,
    listener,
    master_driver::{MasterDriver, MasterQueue},
    registry_store::{self, RegistryError},
};

/// The version that Mesos clients are told: what of the API they may expect.
pub const MESOS_VERSION: &str = "1.11.0";

/// What a master needs to start.
#[derive(Clone)]
pub struct MasterOptions {
    /// Where its registry lives.
    pub store: Arc<dyn Store>,
    /// The port for frameworks, operators and agents; port 0 takes a free one.
    pub mesos_listen: SocketAddr,
    /// The host name that clients are told.
    pub hostname: String,
    /// The address that clients are told; `None` is the listening one, or loopback where that is unspecified.
    pub advertise_ip: Option<std::net::IpAddr>,
    /// Between heartbeats on streams.
    pub heartbeat_interval: Duration,
    /// Between pings of agents.
    pub agent_ping_interval: Duration,
    /// Unanswered pings that make an agent unreachable.
    pub agent_ping_timeouts: u32,
    /// How long an agent may stay away after a cut link, or after a restart of the master.
    pub agent_reregister_timeout: Duration,
    /// How long an offer may stay unanswered.
    pub offer_timeout: Option<Duration>,
    /// How agents on other machines get in; `None` keeps them out.
    pub agent_door: Option<AgentDoor>,
    /// What `/flags` shows.
    pub flags: Vec<(String, String)>,
}

impl MasterOptions {
    /// The defaults of Mesos.
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
            agent_door: None,
            flags: Vec::new(),
        }
    }
}

/// TLS for agents on other machines, and who may join.
#[derive(Clone)]
pub struct AgentDoor {
    /// Asks for certificates and does not require them: joining machines have none.
    pub tls: Arc<rustls::ServerConfig>,
    /// Decides.
    pub authority: Arc<dyn JoinAuthority>,
}

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why weights were not set.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A name is no role.
    #[error(transparent)]
    Role(#[from] kernel_model::roles::InvalidRole),
    /// The master refuses.
    #[error("the master refuses: {0}")]
    Refused(String),
}

/// A running master. Dropping the handle stops it.
pub struct MasterHandle {
    queue: MasterQueue,
    address: SocketAddr,
    info: MasterInfo,
    stop: watch::Sender<bool>,
    /// Until its end has been seen.
    driver: Option<JoinHandle<Result<(), store::Error>>>,
    listener: JoinHandle<()>,
}

/// Reads the registry, starts the master, opens its port.
pub async fn start(options: MasterOptions) -> Result<MasterHandle, StartError> {
    let refused = |source| StartError::Listen { address: options.mesos_listen, source };
    let listener = TcpListener::bind(options.mesos_listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let registry = registry_store::load(&*options.store).await?;
    let info = master_info(&options, address);
    let config = MasterConfig {
        ping_interval: options.agent_ping_interval,
        ping_timeouts: options.agent_ping_timeouts,
        agent_reregister_timeout: options.agent_reregister_timeout,
        offer_timeout: options.offer_timeout,
        ..MasterConfig::new(info.clone())
    };
    let clock = Clock::start();
    let (queue, commands) = MasterQueue::new();
    let (stop, stopped) = watch::channel(false);
    let counters = Arc::default();
    let master = Master::new(config, registry);
    let driver =
        MasterDriver::new(master, clock, options.store, commands, Arc::clone(&counters), stopped.clone());
    let (tls, authority) = match options.agent_door {
        Some(door) => (Some(door.tls), Some(door.authority)),
        None => (None, None),
    };
    let doors = Arc::new(Doors {
        queue: queue.clone(),
        info: info.clone(),
        heartbeat: options.heartbeat_interval,
        flags: options.flags,
        counters,
        clock,
        authority,
    });
    let driver = Some(tokio::spawn(driver.run()));
    let listener = tokio::spawn(listener::run(listener, doors, tls, stopped));
    Ok(MasterHandle { queue, address, info, stop, driver, listener })
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
    /// A scheduler's way in, without HTTP.
    pub fn in_process_driver(&self) -> InProcessDriver {
        InProcessDriver::new(self.queue.clone())
    }

    /// An agent's way in, without TLS.
    pub fn attach_agent(&self) -> InProcessDialer {
        InProcessDialer::new(self.queue.clone())
    }

    /// Sets the weights of roles, as the operator's UPDATE_WEIGHTS does: above zero, by role name.
    pub async fn set_weights(&self, weights: &[(String, f64)]) -> Result<(), WeightsError> {
        let weights = weights
            .iter()
            .map(|(role, weight)| Ok((Role::parse(role)?, *weight)))
            .collect::<Result<_, kernel_model::roles::InvalidRole>>()?;
        let answer = self.queue.operator(OperatorCall::UpdateWeights { weights }).await;
        answer.map(drop).map_err(|fault| WeightsError::Refused(fault.to_string()))
    }

    pub(crate) fn queue(&self) -> &MasterQueue {
        &self.queue
    }

    /// Where the port is.
    pub fn mesos_address(&self) -> SocketAddr {
        self.address
    }

    /// What clients are told.
    pub fn info(&self) -> &MasterInfo {
        &self.info
    }

    /// Waits until the master ends by itself, which it does only when its registry takes no writes. The text says why. Whoever
    /// holds the handle should end the process: nothing answers for the master any more, and a new one starts from the registry.
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

    /// Closes every stream, link and connection, and waits for the master's task to end.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(driver) = self.driver.take() {
            report(driver.await.map(drop));
        }
        report((&mut self.listener).await);
    }
}

/// A task of ours that panicked is worth a word; why the master stopped has been logged.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the master failed");
    }
}

impl Drop for MasterHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
