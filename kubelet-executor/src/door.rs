//! The node's HTTPS door.

use std::sync::Arc;

use crate::{node::Pods, shared::Shared};

/// Why the door is not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// No port.
    #[error("listening on {0}: {1}")]
    Listen(String, std::io::Error),
}

pub(crate) async fn open(_shared: Arc<Shared>, _pods: Arc<Pods>) -> Result<String, DoorError> {
    Ok("127.0.0.1:0".to_owned())
}
