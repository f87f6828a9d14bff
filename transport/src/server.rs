//! The server loop of all HTTP servers: accepts a limited number of TCP connections, performs TLS handshakes, and serves
//! HTTP/1.1 or HTTP/2 until the client disconnects or the server stops.
//!
//! A connection must complete its TLS handshake and send its first request in time; afterwards it may be idle if the options
//! permit it. A client that does not read, or whose machine has vanished, is disconnected.

mod plain_http;
mod stall_guard;
mod unauthenticated;
mod write_batch;

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::BoxError;
use crate::tls::TlsError;
pub use plain_http::refuse_plain_http;
use stall_guard::StallGuard;
pub use unauthenticated::UnauthenticatedLimits;
use unauthenticated::{UnauthenticatedConnection, UnauthenticatedConnections};
use write_batch::WriteBatch;

/// Connections that wait to be accepted; the system's limit is usually the same. The standard library's 128 are too few for
/// the clients of a server that has restarted: the system resets what exceeds the queue.
const LISTEN_BACKLOG: i32 = 4096;

/// Pause after a failed accept. The process is usually out of file descriptors, so other connections must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// First byte of a TLS handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Returns the TLS configuration of a new connection, because certificates may be renewed in place.
pub type TlsSource = Arc<dyn Fn() -> Result<Arc<ServerConfig>, TlsError> + Send + Sync>;

/// The connections that use TLS.
#[derive(Clone)]
pub enum Tls {
    /// No connection.
    Plain,
    /// Connections whose first byte starts a TLS handshake; all others are plain HTTP on the same port.
    Detected(Arc<ServerConfig>),
    /// All connections.
    Required(TlsSource),
}

/// TCP keep-alive probes (`tcp(7)`).
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Idle time before the first probe.
    pub after: Duration,
    /// Interval between probes.
    pub every: Duration,
    /// Number of unanswered probes after which the connection is closed.
    pub probes: u32,
}

/// HTTP/2 settings for clients that negotiate it.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Interval of pings on an idle connection, and time limit for their answer.
    pub ping_every: Duration,
    /// Maximum number of concurrent requests per connection.
    pub streams_max: u32,
}

/// Limits on the head of a request; hyper's own are 100 headers with HTTP/1.1, and 16 KiB with HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Maximum size in bytes.
    pub bytes_max: u32,
    /// Maximum number of headers with HTTP/1.1. With HTTP/2 the size limits them, because each counts 32 bytes more than it has.
    pub headers_max: usize,
}

/// Limits and features of a server's connections.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The server's name in log lines.
    pub name: &'static str,
    /// Maximum number of connections; further ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Bounds on clients without credentials; `None` for servers that such clients may use.
    pub unauthenticated: Option<UnauthenticatedLimits>,
    /// Time limit for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Time limit from accepting a connection to the head of its first request.
    pub first_request_timeout: Duration,
    /// Time limit for the head of each HTTP/1.1 request, which also limits idle time; `None` permits idle
    /// connections.
    pub header_timeout: Option<Duration>,
    /// Limits on the head of each request; `None` uses those of hyper.
    pub head: Option<HeadLimits>,
    /// How long a write may make no progress; `None` leaves this to TCP.
    pub write_stall_timeout: Option<Duration>,
    /// TCP keep-alive; `None` uses the kernel's defaults.
    pub keep_alive: Option<KeepAlive>,
    /// How long sent bytes may remain unacknowledged (`TCP_USER_TIMEOUT`).
    pub unacknowledged_max: Option<Duration>,
    /// HTTP/2; `None` serves HTTP/1.1 only.
    pub http2: Option<Http2>,
    /// Time for connections to finish after the server was stopped; then they are closed.
    pub drain_timeout: Duration,
    /// Sends `Content-Type` instead of `content-type`, for HTTP/1.1 clients that compare names case-sensitively.
    pub title_case_headers: bool,
}

impl ServerOptions {
    /// HTTP/1.1 with idle connections and without further limits.
    pub fn new(name: &'static str, connections_max: usize) -> Self {
        ServerOptions {
            name,
            connections_max,
            unauthenticated: None,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(30),
            header_timeout: None,
            head: None,
            write_stall_timeout: None,
            keep_alive: None,
            unacknowledged_max: None,
            http2: None,
            drain_timeout: Duration::ZERO,
            title_case_headers: false,
        }
    }
}

/// The peer of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The verified client certificate (DER), if one was presented.
    pub certificate: Option<Arc<[u8]>>,
}

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The service of one connection with its types erased: hyper's connection code is compiled once, in this crate, and not
/// again for each server.
type Handler = Box<dyn Fn(Request<Incoming>) -> Answering + Send>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type MakeHandler = Arc<dyn Fn(&Peer) -> Result<Handler, BoxError> + Send + Sync>;

/// Serves connections until `stop` is cancelled, and returns when the open ones have ended. `make_service` creates
/// the service of a connection; an error closes the connection.
pub async fn serve<M, S, B>(
    listener: TcpListener,
    tls: Tls,
    options: ServerOptions,
    make_service: M,
    stop: CancellationToken,
) where
    M: Fn(&Peer) -> Result<S, BoxError> + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let make_handler: MakeHandler = Arc::new(move |peer| {
        let service = make_service(peer)?;
        Ok(Box::new(move |request| {
            let answering = service.call(request);
            Box::pin(async move { Ok(answering.await?.map(boxed)) })
        }))
    });
    accept(listener, tls, Arc::new(options), make_handler, stop).await;
}

/// Boxes a body that is not boxed yet.
fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut body = Some(body);
    let same_type = (&mut body as &mut dyn Any).downcast_mut::<Option<Body>>().and_then(Option::take);
    same_type.or_else(|| body.map(|body| body.map_err(Into::into).boxed_unsync())).unwrap_or_default()
}

async fn accept(
    listener: TcpListener,
    tls: Tls,
    options: Arc<ServerOptions>,
    make_handler: MakeHandler,
    stop: CancellationToken,
) {
    if let Err(error) = rustix::net::listen(&listener, LISTEN_BACKLOG) {
        tracing::warn!(server = options.name, %error, "the queue of new connections stays short");
    }
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let unauthenticated = options.unauthenticated.map(UnauthenticatedConnections::new);
    let connections = TaskTracker::new();
    loop {
        let Some(slot) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else { break };
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(server = options.name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection { options: options.clone(), stop: stop.clone(), address };
        let (tls, make_handler) = (tls.clone(), make_handler.clone());
        let unknown = unauthenticated.as_ref().map(|among| Arc::new(among.admit(address.ip())));
        connections.spawn(async move {
            let server = connection.options.name;
            let ended = match &unknown {
                None => connection.run(tcp, tls, &*make_handler, None).await,
                Some(unknown) => tokio::select! {
                    ended = connection.run(tcp, tls, &*make_handler, Some(unknown)) => ended,
                    why = unknown.end() => Err(why.into()),
                },
            };
            if let Err(error) = ended {
                tracing::debug!(server, peer = %address, %error, "connection ended");
            }
            drop(slot);
        });
    }
    connections.close();
    connections.wait().await;
}

/// One accepted connection.
struct Connection {
    options: Arc<ServerOptions>,
    stop: CancellationToken,
    address: SocketAddr,
}

impl Connection {
    async fn run(
        self,
        mut tcp: TcpStream,
        tls: Tls,
        make_handler: &(dyn Fn(&Peer) -> Result<Handler, BoxError> + Send + Sync),
        unknown: Option<&Arc<UnauthenticatedConnection>>,
    ) -> Result<(), BoxError> {
        self.set_socket_options(&tcp)?;
        let deadline = Instant::now() + self.options.first_request_timeout;
        let config = match tls {
            Tls::Plain => None,
            Tls::Required(source) => {
                if tokio::time::timeout_at(deadline, refuse_plain_http(&mut tcp)).await?? {
                    return Ok(());
                }
                Some(source()?)
            }
            Tls::Detected(config) => match self.first_byte(&tcp, deadline).await? {
                None => return Ok(()),
                Some(byte) => (byte == TLS_HANDSHAKE).then_some(config),
            },
        };
        let mut peer = Peer { address: self.address, tls: config.is_some(), certificate: None };
        let Some(config) = config else {
            let mut handler = make_handler(&peer)?;
            if let Some(unknown) = unknown {
                handler = until_known(handler, unknown.clone());
            }
            return self.serve_http1(tcp, handler, deadline).await;
        };
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let stream = tokio::time::timeout(self.options.handshake_timeout, handshake).await??;
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        peer.certificate = certificate.map(|certificate| Arc::from(certificate.as_ref()));
        let http2 = self.options.http2.filter(|_| session.alpn_protocol() == Some(b"h2"));
        let mut handler = make_handler(&peer)?;
        match unknown {
            Some(unknown) if peer.certificate.is_some() => unknown.mark_known(),
            Some(unknown) => handler = until_known(handler, unknown.clone()),
            None => {}
        }
        match http2 {
            Some(http2) => self.serve_http2(stream, handler, deadline, http2).await,
            None => self.serve_http1(stream, handler, deadline).await,
        }
    }

    fn set_socket_options(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        sockopt::set_socket_keepalive(tcp, true)?;
        if let Some(KeepAlive { after, every, probes }) = self.options.keep_alive {
            sockopt::set_tcp_keepidle(tcp, after)?;
            sockopt::set_tcp_keepintvl(tcp, every)?;
            sockopt::set_tcp_keepcnt(tcp, probes)?;
        }
        if let Some(limit) = self.options.unacknowledged_max {
            let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(tcp, limit)?;
        }
        Ok(())
    }

    /// Peeks at the first byte; `None` if the client has closed the connection or the server is stopping.
    async fn first_byte(&self, tcp: &TcpStream, deadline: Instant) -> Result<Option<u8>, BoxError> {
        let mut first = [0u8; 1];
        let peeked = tokio::time::timeout_at(deadline, tcp.peek(&mut first));
        match self.stop.run_until_cancelled(peeked).await {
            None => Ok(None),
            Some(read) => Ok((read?? > 0).then_some(first[0])),
        }
    }

    async fn serve_http1<IO>(&self, stream: IO, handler: Handler, deadline: Instant) -> Result<(), BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).title_case_headers(self.options.title_case_headers);
        builder.http1().header_read_timeout(self.options.header_timeout);
        if let Some(HeadLimits { bytes_max, headers_max }) = self.options.head {
            builder.http1().max_headers(headers_max).max_buf_size(bytes_max as usize);
        }
        let stream = StallGuard::new(stream, self.options.write_stall_timeout);
        self.drive(builder, stream, handler, deadline).await
    }

    async fn serve_http2<IO>(
        &self,
        stream: IO,
        handler: Handler,
        deadline: Instant,
        http2: Http2,
    ) -> Result<(), BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(http2.ping_every))
            .keep_alive_timeout(http2.ping_every)
            .max_concurrent_streams(http2.streams_max);
        if let Some(HeadLimits { bytes_max, .. }) = self.options.head {
            builder.http2().max_header_list_size(bytes_max);
        }
        self.drive(builder, WriteBatch::new(stream), handler, deadline).await
    }

    /// Drives a connection until it ends, the server stops, or no request arrives in time.
    async fn drive<IO>(
        &self,
        builder: auto::Builder<TokioExecutor>,
        stream: IO,
        handler: Handler,
        deadline: Instant,
    ) -> Result<(), BoxError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requested = Arc::new(AtomicBool::new(false));
        let seen = requested.clone();
        let service = service_fn(move |request| {
            seen.store(true, Ordering::Relaxed);
            handler(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let silent = async {
            tokio::time::sleep_until(deadline).await;
            if requested.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let ending = async {
            tokio::select! {
                () = silent => Ending::Silent,
                () = self.stop.cancelled() => Ending::Stop,
            }
        };
        // The set polls timer and token when they wake it, and not with each packet.
        let mut ending: FuturesUnordered<_> = std::iter::once(ending).collect();
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            Some(ending) = ending.next() => match ending {
                Ending::Silent => Err("no request came in time".into()),
                Ending::Stop => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(self.options.drain_timeout, connection).await {
                        Ok(ended) => ended,
                        Err(_) => Err("closed because the server stops".into()),
                    }
                }
            },
        }
    }
}

/// Makes a client known with the first answer that does not ask for credentials.
fn until_known(handler: Handler, unknown: Arc<UnauthenticatedConnection>) -> Handler {
    Box::new(move |request| {
        let (answering, unknown) = (handler(request), unknown.clone());
        Box::pin(async move {
            let response = answering.await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                unknown.mark_known();
            }
            Ok(response)
        })
    })
}

/// Why the server ends a connection.
enum Ending {
    /// No request came in time.
    Silent,
    /// The server stops.
    Stop,
}

#[cfg(test)]
mod tests;
