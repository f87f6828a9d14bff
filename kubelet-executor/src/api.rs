//! What the executor asks of the Kubernetes API, behind a trait: the node's certificate over HTTPS, or maps in tests.

pub(crate) mod events;
pub mod fake;
pub(crate) mod https;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret, Service};

/// Why the API gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// It does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// It refuses.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The Status' sentence.
        message: String,
    },
}

/// A service account's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// When it stops being one.
    pub expires_at: Timestamp,
}

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// The account's namespace.
    pub namespace: String,
    /// Its name.
    pub account: String,
    /// For whom; the API server itself if none.
    pub audience: Option<String>,
    /// For how long.
    pub expiration_seconds: i64,
    /// The Pod that the token lives and dies with: name and UID.
    pub pod: (String, String),
}

/// See the file's head.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// A ConfigMap, `None` if it does not exist.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError>;
    /// A Secret, `None` if it does not exist.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError>;
    /// All Services.
    async fn services(&self) -> Result<Vec<Service>, ApiError>;
    /// A fresh token.
    async fn token(&self, wish: &TokenWish) -> Result<Token, ApiError>;
    /// UIDs of the Pods that are bound to a node.
    async fn pod_uids(&self, node: &str) -> Result<Vec<String>, ApiError>;
    /// Records an Event; one whose name exists already gets the new count.
    async fn record(&self, event: &Event) -> Result<(), ApiError>;
}
