//! The link between an agent and the master: ordered, typed messages in both directions; messages in flight are lost
//! with the link.
//!
//! An agent has a [`Dialer`] and dials again with back-off when its link ends. In the same process the link is a pair
//! of queues. Between machines it is TLS to the master's Mesos port, an HTTP/1.1 upgrade on [`LINK_PATH`], and
//! length-delimited protobuf frames. A machine without a certificate requests one first, on [`JOIN_PATH`].

mod address_range;
mod dial;
mod frames;
mod join;

use std::time::Duration;

use async_trait::async_trait;
use kernel_model::agent::{ToAgent, ToMaster};
use tokio::sync::mpsc;

pub use address_range::{AddressRange, AddressRangeError, Addresses, request_address_range};
pub(crate) use address_range::{answer_to_json, requested_from_json};
pub use dial::TlsDialer;
pub(crate) use frames::serve as serve_frames;
pub use join::{JoinAuthority, JoinRefusal, JoinRequest, Joined, join};
pub(crate) use join::{request_from_json, to_json};

use crate::master_driver::MasterQueue;

/// The path that opens links.
pub const LINK_PATH: &str = "/api/v1/agent-link";

/// The path that machines join at.
pub const JOIN_PATH: &str = "/api/v1/join";

/// Where machines ask for the address range of their tasks.
pub const ADDRESS_RANGE_PATH: &str = "/api/v1/address-range";

/// The `Upgrade` protocol.
pub const LINK_PROTOCOL: &str = "catamaran-agent-link";

/// Messages in flight from an agent; it waits beyond that.
const OUTGOING_BOUND: usize = 1024;

/// The first back-off.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The agent's end of an open link. It is down once `incoming` returns `None` or `outgoing` is closed; dropping it
/// closes it.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct AgentLink {
    pub outgoing: mpsc::Sender<ToMaster>,
    pub incoming: mpsc::Receiver<ToAgent>,
}

/// A link that could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    /// The master has stopped.
    #[error("the master is not running")]
    Stopped,
    /// The connection failed.
    #[error("the master cannot be reached: {0}")]
    Unreachable(String),
    /// Something else than a master answers at the address.
    #[error(
        "a Kubernetes API server answers there, and no Mesos master; agents connect to the server's --mesos-listen address \
         (port 5050, unless it was set)"
    )]
    KubernetesApi,
    /// The master refused the link.
    #[error("the master refuses: {status} {text}")]
    Refused { status: u16, text: String },
}

/// Opens links to a master.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// One attempt.
    async fn dial(&self) -> Result<AgentLink, LinkError>;
}

/// Dials until a link is up, with a back-off from 0.1 s to 10 s. Logs the first failure and then every tenth.
pub async fn dial_until_up(dialer: &dyn Dialer) -> AgentLink {
    let mut pause = BACKOFF_MIN;
    for attempt in 0u64.. {
        match dialer.dial().await {
            Ok(link) => return link,
            Err(error) if attempt % 10 == 0 => {
                tracing::warn!(%error, attempt, "dialling the master failed, retrying")
            }
            Err(error) => tracing::debug!(%error, attempt, "dialling the master failed, retrying"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
    unreachable!("invariant: the loop over all numbers ends by returning")
}

/// Opens links to a master in the same process.
#[derive(Clone)]
pub struct InProcessDialer {
    queue: MasterQueue,
}

impl InProcessDialer {
    pub(crate) fn new(queue: MasterQueue) -> Self {
        Self { queue }
    }
}

#[async_trait]
impl Dialer for InProcessDialer {
    async fn dial(&self) -> Result<AgentLink, LinkError> {
        let (handle, incoming) = self.queue.link_up().await.map_err(|_| LinkError::Stopped)?;
        let (outgoing, mut from_agent) = mpsc::channel(OUTGOING_BOUND);
        tokio::spawn(async move {
            while let Some(message) = from_agent.recv().await {
                if handle.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(AgentLink { outgoing, incoming })
    }
}
