//! Opens connections: TCP, and TLS for `https`.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{AddressSource, ClientOptions, TlsSource};

/// Why a connection could not be opened. Cloneable, because hyper-util returns references only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP failed. The text follows Go's `net` package, because users look for its words in messages of probes.
    #[error("dial tcp {address}: {reason}", reason = dial_reason(*.kind, .message))]
    Tcp {
        /// `host:port`.
        address: String,
        /// The kind of the cause.
        kind: io::ErrorKind,
        /// The cause.
        message: String,
    },
    /// The TLS handshake failed, or there is no TLS configuration.
    #[error("TLS handshake with {address}: {message}")]
    Tls {
        /// `host:port`.
        address: String,
        /// The cause.
        message: String,
    },
    /// The client's [`super::AddressSource`] knows no address of the host.
    #[error("{message}")]
    Address {
        /// Why.
        message: String,
    },
    /// Connection setup exceeded the time limit.
    #[error("dial tcp {address}: i/o timeout")]
    Timeout {
        /// `host:port`.
        address: String,
    },
    /// The URI has no host, or a scheme other than `http` and `https`.
    #[error("cannot connect to '{uri}': not an absolute http or https URI")]
    Uri {
        /// The URI.
        uri: String,
    },
}

fn dial_reason(kind: io::ErrorKind, message: &str) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => message.to_owned(),
    }
}

/// Opens a TCP connection with `TCP_NODELAY`.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let failed = |error: io::Error| ConnectError::Tcp {
        address: authority(host, port),
        kind: error.kind(),
        message: error.to_string(),
    };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The connector that hyper-util's client uses.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Option<TlsSource>,
    timeout: Duration,
    unacknowledged_max: Option<Duration>,
    address: Option<AddressSource>,
    server_name: Option<String>,
}

impl Connector {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Connector {
            tls: options.tls.clone(),
            timeout: options.connect_timeout,
            unacknowledged_max: options.unacknowledged_max,
            address: options.address.clone(),
            server_name: options.server_name.clone(),
        }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, ConnectError> {
        let absolute = || ConnectError::Uri { uri: uri.to_string() };
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(absolute()),
        };
        let host = uri.host().ok_or_else(absolute)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let open = async {
            let tcp = match &self.address {
                None => dial(host, port).await?,
                Some(source) => {
                    let (host, port) =
                        source(host, port).map_err(|message| ConnectError::Address { message })?;
                    dial(&host, port).await?
                }
            };
            if let Some(limit) = self.unacknowledged_max {
                let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
                rustix::net::sockopt::set_tcp_user_timeout(&tcp, limit).map_err(|error| {
                    let error = io::Error::from(error);
                    let (kind, message) = (error.kind(), error.to_string());
                    ConnectError::Tcp { address: authority(host, port), kind, message }
                })?;
            }
            match secure {
                false => Ok(Stream::Plain(tcp)),
                true => self.shake_hands(tcp, host, port).await,
            }
        };
        match tokio::time::timeout(self.timeout, open).await {
            Ok(opened) => opened.map(TokioIo::new),
            Err(_) => Err(ConnectError::Timeout { address: authority(host, port) }),
        }
    }

    async fn shake_hands(&self, tcp: TcpStream, host: &str, port: u16) -> Result<Stream, ConnectError> {
        let failed = |message: String| ConnectError::Tls { address: authority(host, port), message };
        let source = self.tls.as_ref().ok_or_else(|| failed("this client has no TLS".to_owned()))?;
        let config: Arc<ClientConfig> = source().map_err(|error| failed(error.to_string()))?;
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| failed(error.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await;
        Ok(Stream::Tls(Box::new(stream.map_err(|error| failed(error.to_string()))?)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// An open connection.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Stream::Plain(_) | Stream::Tls(_) => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
