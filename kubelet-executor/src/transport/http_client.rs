//! An HTTP/1.1 client for one server, with connection reuse and time limits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Time limit of a connect with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a response head.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections that are kept; the executor rarely needs more at once.
const IDLE_MAX: usize = 8;

/// Creates the TLS configuration of a new connection.
pub(crate) type TlsSource =
    Arc<dyn Fn() -> Result<Arc<rustls::ClientConfig>, crate::transport::tls::TlsError> + Send + Sync>;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HttpError {
    #[error("dial tcp {0}: {1}")]
    Connect(String, String),
    #[error("request to {0} failed: {1}")]
    Exchange(String, String),
    #[error("{0} did not answer in time")]
    Timeout(String),
}

#[derive(Clone)]
pub(crate) struct HttpClient {
    authority: Arc<str>,
    tls: Option<TlsSource>,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl HttpClient {
    pub fn new(authority: &str, tls: Option<TlsSource>) -> Self {
        Self { authority: authority.into(), tls, idle: Arc::default() }
    }

    /// Sends a request whose URI is a path, and sets `Host`. If the server has closed a reused connection meanwhile,
    /// the request is sent on another one: nothing was sent on the first.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        if let Ok(host) = http::HeaderValue::from_str(&self.authority) {
            request.headers_mut().insert(http::header::HOST, host);
        }
        while let Some(mut sender) = self.take_idle() {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.try_send_request(request)).await;
            match answer.map_err(|_| HttpError::Timeout(self.authority.to_string()))? {
                Ok(response) => {
                    self.put_idle(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.exchange(error.error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await;
        let response = answer
            .map_err(|_| HttpError::Timeout(self.authority.to_string()))?
            .map_err(|error| self.exchange(&error))?;
        self.put_idle(sender);
        Ok(response)
    }

    fn exchange(&self, error: &hyper::Error) -> HttpError {
        HttpError::Exchange(self.authority.to_string(), error.to_string())
    }

    /// Takes an idle connection. One with an endless response (SUBSCRIBE) is never idle; closed ones are dropped
    /// here.
    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let free = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(free))
    }

    fn put_idle(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let failed = |error: String| HttpError::Connect(self.authority.to_string(), error);
        let dial = async {
            let stream = TcpStream::connect(&*self.authority).await.map_err(|e| failed(dial_error(&e)))?;
            let _ = stream.set_nodelay(true);
            let Some(source) = &self.tls else { return handshake(stream).await.map_err(&failed) };
            let config = source().map_err(|e| failed(e.to_string()))?;
            let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host);
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
            let name = name.map_err(|e| failed(e.to_string()))?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            handshake(stream.map_err(|e| failed(e.to_string()))?).await.map_err(&failed)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| HttpError::Timeout(self.authority.to_string()))?
    }
}

/// Formats connection errors as Go does, since people search for these texts.
pub(crate) fn dial_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        _ => error.to_string(),
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(sender)
}
