//! The agent's side: subscribing, updates until they are acknowledged, coming back after the agent's restart.

pub mod fake;
pub(crate) mod http;
pub(crate) mod updates;

use async_trait::async_trait;
use kernel_model::executor::{Call, Event};
use tokio::sync::mpsc;

/// Why a call did not reach the agent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// It does not answer, or not yet: try again.
    #[error("{0}")]
    Away(String),
    /// It does not know this executor, or does not want it: trying again is no use.
    #[error("the agent refuses this executor: {0}")]
    Refused(String),
}

/// The way to the agent; behind a trait, so that tests need none.
#[async_trait]
pub trait AgentLink: Send + Sync + 'static {
    /// Sends SUBSCRIBE; the events come until the connection breaks.
    async fn subscribe(&self, call: Call) -> Result<mpsc::Receiver<Event>, LinkError>;
    /// Sends any other call.
    async fn send(&self, call: Call) -> Result<(), LinkError>;
}
