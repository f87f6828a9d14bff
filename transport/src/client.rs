//! The HTTP client: hyper-util's pooled client with deadlines for connecting and for the head of a response, and errors
//! that say which of the two failed.

mod connector;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::tls::TlsError;
pub use connector::{ConnectError, Stream, dial};

/// Gives the TLS configuration of a new connection: certificates are renewed in place.
pub type TlsSource = Arc<dyn Fn() -> Result<Arc<ClientConfig>, TlsError> + Send + Sync>;

/// How a client connects and waits.
#[derive(Clone)]
pub struct ClientOptions {
    /// TLS for `https`; without it such requests are refused.
    pub tls: Option<TlsSource>,
    /// Time for TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time from sending a request to the head of its response.
    pub response_timeout: Duration,
    /// Idle connections that are kept per server.
    pub idle_max: usize,
    /// How long sent bytes may stay unacknowledged before the connection counts as lost; `None` leaves it to the kernel.
    pub unacknowledged_max: Option<Duration>,
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
        }
    }
}

impl ClientOptions {
    /// The defaults, with one TLS configuration for every connection.
    pub fn with_tls(config: Arc<ClientConfig>) -> Self {
        ClientOptions { tls: Some(Arc::new(move || Ok(config.clone()))), ..ClientOptions::default() }
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server did not send the head of a response in time.
    #[error("{authority} did not respond within {timeout:?}")]
    ResponseTimeout {
        /// `host:port`.
        authority: String,
        /// The limit.
        timeout: Duration,
    },
    /// The connection failed, or the server does not speak HTTP.
    #[error("request to {authority}: {reason}")]
    Exchange {
        /// `host:port`.
        authority: String,
        /// What hyper says.
        reason: String,
    },
}

/// A pooled HTTP client. Clones share the pool.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<connector::Connector, Full<Bytes>>,
    response_timeout: Duration,
}

impl Client {
    /// A client with an empty pool. Needs a tokio runtime when it is used.
    pub fn new(options: ClientOptions) -> Self {
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(options.idle_max)
            .build(connector::Connector::new(&options));
        Client { inner, response_timeout: options.response_timeout }
    }

    /// Sends a request whose URI is absolute and waits for the head of its response. A pooled connection that the server
    /// has closed meanwhile is replaced once, as nothing was sent on it.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let authority = request.uri().authority().map_or_else(String::new, ToString::to_string);
        match tokio::time::timeout(self.response_timeout, self.inner.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(authority, error)),
            Err(_) => Err(ClientError::ResponseTimeout { authority, timeout: self.response_timeout }),
        }
    }
}

/// Finds the connector's own error below hyper-util's.
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
