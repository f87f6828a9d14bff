//! The Mesos executor API: subscribe, send status updates until they are acknowledged, resubscribe after an agent
//! restart.

pub mod fake;
pub(crate) mod http;
pub(crate) mod updates;

use async_trait::async_trait;
use kernel_model::executor::{Call, Event};
use tokio::sync::mpsc;

/// Why a call to the agent failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    /// The agent does not answer; retry.
    #[error("{0}")]
    Unavailable(String),
    /// The agent does not know this executor or refuses it; do not retry.
    #[error("the agent refuses this executor: {0}")]
    Refused(String),
}

/// The connection to the agent.
#[async_trait]
pub trait AgentLink: Send + Sync + 'static {
    /// Sends SUBSCRIBE and returns the event stream.
    async fn subscribe(&self, call: Call) -> Result<mpsc::Receiver<Event>, LinkError>;
    /// Sends any other call.
    async fn send(&self, call: Call) -> Result<(), LinkError>;
}
