//! The HTTP client: hyper-util's pooled client with time limits for connecting and for the head of a response, whose
//! errors say which of the two failed.

mod connector;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::BoxError;
use crate::tls::TlsError;
pub use connector::{ConnectError, Stream, dial};

/// Returns the TLS configuration of a new connection, because certificates may be renewed in place.
pub type TlsSource = Arc<dyn Fn() -> Result<Arc<ClientConfig>, TlsError> + Send + Sync>;

/// Returns host and port to connect to for those of a URI, which stay what the server's certificate is for; or why there
/// are none. For names that only the caller can resolve, such as Services.
pub type AddressSource = Arc<dyn Fn(&str, u16) -> Result<(String, u16), String> + Send + Sync>;

/// Time limits, pool size and TLS of a client.
#[derive(Clone)]
pub struct ClientOptions {
    /// The TLS configuration for `https`; without one such requests fail.
    pub tls: Option<TlsSource>,
    /// Time limit for TCP and TLS connection setup together.
    pub connect_timeout: Duration,
    /// Time limit from sending a request to the head of its response.
    pub response_timeout: Duration,
    /// Maximum number of idle connections per server.
    pub idle_max: usize,
    /// How long sent bytes may remain unacknowledged before the connection is closed (`TCP_USER_TIMEOUT`); `None`
    /// uses the kernel's default.
    pub unacknowledged_max: Option<Duration>,
    /// Where to connect to; `None` connects to the URI's host.
    pub address: Option<AddressSource>,
    /// The name that certificates must be for; `None` means the URI's host.
    pub server_name: Option<String>,
}

impl Default for ClientOptions {
    /// Plain HTTP, 5 s to connect, 30 s to respond, 8 idle connections.
    fn default() -> Self {
        ClientOptions {
            tls: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            idle_max: 8,
            unacknowledged_max: None,
            address: None,
            server_name: None,
        }
    }
}

impl ClientOptions {
    /// The defaults with a fixed TLS configuration.
    pub fn with_tls(config: Arc<ClientConfig>) -> Self {
        ClientOptions { tls: Some(Arc::new(move || Ok(config.clone()))), ..ClientOptions::default() }
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server did not send the head of a response in time.
    #[error("{authority} did not respond within {timeout:?}")]
    ResponseTimeout {
        /// `host:port`.
        authority: String,
        /// The time limit.
        timeout: Duration,
    },
    /// The connection failed, or the server does not speak HTTP.
    #[error("request to {authority}: {reason}")]
    Exchange {
        /// `host:port`.
        authority: String,
        /// hyper's error.
        reason: String,
    },
}

/// The body of a request that is sent while it arrives.
pub type StreamedBody = UnsyncBoxBody<Bytes, BoxError>;

/// A pooled HTTP client. Clones share the pool.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<connector::Connector, StreamedBody>,
    response_timeout: Duration,
}

impl Client {
    /// Creates a client with an empty pool. Requests must be sent within a tokio runtime.
    pub fn new(options: ClientOptions) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.idle_max)
            .build(connector::Connector::new(&options));
        Client { inner, response_timeout: options.response_timeout }
    }

    /// Sends a request with an absolute URI and waits for the head of the response. If a pooled connection was closed
    /// by the server before anything was sent on it, the request is sent once more on a new one.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        self.send_streamed(request.map(|body| body.map_err(|never| match never {}).boxed_unsync())).await
    }

    /// Like [`Client::send`], with a body that may still be arriving when the response does.
    pub async fn send_streamed(
        &self,
        request: Request<StreamedBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let authority = request.uri().authority().map_or_else(String::new, ToString::to_string);
        match tokio::time::timeout(self.response_timeout, self.inner.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(authority, error)),
            Err(_) => Err(ClientError::ResponseTimeout { authority, timeout: self.response_timeout }),
        }
    }
}

/// Finds the connector's own error in hyper-util's error chain.
fn classify(authority: String, error: legacy::Error) -> ClientError {
    let mut source = std::error::Error::source(&error);
    let mut reason = error.to_string();
    while let Some(cause) = source {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return ClientError::Connect(connect.clone());
        }
        reason = cause.to_string();
        source = cause.source();
    }
    ClientError::Exchange { authority, reason }
}

#[cfg(test)]
mod tests;
