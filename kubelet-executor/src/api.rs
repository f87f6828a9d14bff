//! Access to the Kubernetes API behind a trait: HTTPS with the node's certificate, or maps in tests.

pub(crate) mod events;
pub mod fake;
pub(crate) mod kube_api;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::SubjectAccessReviewSpec;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Secret, Service,
};
use k8s_openapi::api::node::v1::RuntimeClass;

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)]
pub enum ApiError {
    /// No answer, or one that does not decode.
    #[error("{0}")]
    Unavailable(String),
    /// An error Status.
    #[error("{message}")]
    Refused { code: u16, message: String },
}

/// An issued token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Token {
    pub token: String,
    pub expires_at: Timestamp,
}

/// A TokenRequest for a ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TokenRequest {
    pub namespace: String,
    pub account: String,
    /// The API server's own audience if none.
    pub audience: Option<String>,
    pub expiration_seconds: i64,
    /// Name and UID of the Pod that the token is bound to.
    pub pod: (String, String),
}

/// The requests that the executor makes.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// A ConfigMap, `None` if it does not exist.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError>;
    /// A Secret, `None` if it does not exist.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError>;
    /// A PersistentVolumeClaim, `None` if it does not exist.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>, ApiError>;
    /// A PersistentVolume, `None` if it does not exist.
    async fn volume(&self, name: &str) -> Result<Option<PersistentVolume>, ApiError>;
    /// A RuntimeClass, `None` if it does not exist.
    async fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, ApiError>;
    /// The Services of a namespace, and `kubernetes` in `default`.
    async fn services(&self, namespace: &str) -> Result<Vec<Service>, ApiError>;
    /// Requests a token.
    async fn token(&self, request: &TokenRequest) -> Result<Token, ApiError>;
    /// A Node, `None` if it does not exist.
    async fn node(&self, name: &str) -> Result<Option<Node>, ApiError>;
    /// The UIDs of the Pods that are bound to a node.
    async fn pod_uids(&self, node: &str) -> Result<Vec<String>, ApiError>;
    /// The user of a bearer token, `None` if it is not valid.
    async fn review_token(&self, token: &str) -> Result<Option<UserInfo>, ApiError>;
    /// Whether a user may do something.
    async fn review_access(&self, asked: SubjectAccessReviewSpec) -> Result<bool, ApiError>;
    /// Creates an Event, or updates the count of an existing one.
    async fn record(&self, event: &Event) -> Result<(), ApiError>;
    /// A client for watches, if there is a server.
    fn client(&self) -> Option<kube::Client> {
        None
    }
}
