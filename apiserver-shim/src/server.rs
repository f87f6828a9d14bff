//! The server: a TLS listener in front of the service, bounded in connections and patient only so long.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use shim_model::status::Status;
use shim_pki::tls::{ALPN_HTTP, ALPN_HTTP1, ClientCertificate, client_config, server_config};
use shim_pki::{Pki, PkiError, ServerNames, identity};
use store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::authentication::{Authenticator, DEFAULT_AUDIENCE, User};
use crate::auth::authorization::FixedAuthorizer;
use crate::http::service::{Api, ApiService, Caller};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::storage::registry::Registry;

pub mod bootstrap;
pub mod runners;
mod write_batch;
use write_batch::WriteBatch;

/// Connections at once: each costs some 40 KiB, so that all of them stay below half a gigabyte.
pub const CONNECTIONS_MAX: usize = 10_000;
/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's headers, and an HTTP/1 connection may stay idle between two: longer
/// than clients keep idle connections, or a request would meet a door that is just closing.
const HEADERS_MAX: Duration = Duration::from_secs(100);
/// How long a connection may take to its first whole request: one on which nobody speaks must not hold a place for ever.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(100);
/// HTTP/2 connections that do not answer pings are closed after this.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(30);
/// A connection that is silent for this long is probed by the kernel, this often, and given up after so many probes: an
/// `exec` or a watch over HTTP/1.1 whose client's machine has vanished ends within two minutes.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES_MAX: u32 = 6;
/// Requests at once on one HTTP/2 connection: informers of one client watch every resource over one.
const STREAMS_MAX: u32 = 1000;
/// How long connections may take to end when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What a server is started with.
pub struct ApiOptions {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// The cluster's keys.
    pub pki: Arc<Pki>,
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// The address that others reach this machine by.
    pub advertise: IpAddr,
    /// Further names and addresses of this server, for its certificate.
    pub names: ServerNames,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The store does not answer.
    #[error("objects cannot be read: {0}")]
    Store(#[source] store::Error),
    /// A key or certificate is not right.
    #[error("keys cannot be used: {0}")]
    Pki(#[from] PkiError),
    /// What every cluster has could not be written.
    #[error("first objects cannot be written: {0}")]
    Bootstrap(#[source] Status),
}

/// A running server.
pub struct ApiHandle {
    service: ApiService,
    local: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts a server: it answers when this returns.
pub async fn start(options: ApiOptions) -> Result<ApiHandle, StartError> {
    let address = options.listen;
    let listen = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let mut names = options.names;
    names.addresses.extend([options.advertise, local.ip()]);
    let now = SystemTime::now();
    let authority = &options.pki.authority;
    let serving = authority.issue_server(&names, now)?;
    let tls = server_config(
        &serving.certificate,
        &serving.key,
        authority.certificate(),
        ClientCertificate::Optional,
        ALPN_HTTP,
    )?;
    let kubelet = authority.issue_kubelet_client(now)?;
    let pair = Some((kubelet.certificate.as_str(), kubelet.key.as_str()));
    let node_client = client_config(authority.certificate(), pair, ALPN_HTTP1)?;
    let registry = Registry::open(options.store).await.map_err(StartError::Store)?;
    let authenticator =
        Authenticator::new(registry.clone(), &options.pki.service_account_key, DEFAULT_AUDIENCE)?;
    let api = Arc::new(Api::new(
        registry,
        authenticator,
        Arc::new(FixedAuthorizer),
        NodeEndpoints::default(),
        Some(node_client),
        SocketAddr::new(options.advertise, local.port()).to_string(),
    ));
    bootstrap::run(&api.pipeline, options.advertise, local.port()).await.map_err(StartError::Bootstrap)?;
    let service = ApiService::new(api, Caller::Unknown);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(accept(listener, TlsAcceptor::from(tls), service.clone(), stop.clone(), tasks.clone()));
    Ok(ApiHandle { service, local, stop, tasks })
}

impl ApiHandle {
    /// The objects.
    pub fn registry(&self) -> &Registry {
        &self.service.api().registry
    }

    /// Writes as users' requests are written.
    pub fn pipeline(&self) -> &Pipeline {
        &self.service.api().pipeline
    }

    /// The service, for a part of this process that goes by `user`.
    pub fn service(&self, user: &str) -> ApiService {
        self.service.for_caller(Caller::Known(Arc::new(User::system(user))))
    }

    /// Where executors are; whoever learns it writes it here.
    pub fn node_endpoints(&self) -> &NodeEndpoints {
        &self.service.api().nodes
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops listening and ends connections; what is under way gets a moment to finish.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections were cut off at shutdown");
        }
    }
}

impl Drop for ApiHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    service: ApiService,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let (tls, service, stop) = (tls.clone(), service.clone(), stop.clone());
                tasks.spawn(async move {
                    if let Err(error) = serve(tcp, tls, service, stop).await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(
    tcp: TcpStream,
    tls: TlsAcceptor,
    service: ApiService,
    stop: CancellationToken,
) -> Result<(), crate::http::body::BoxError> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&tcp, true)?;
    sockopt::set_tcp_keepidle(&tcp, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&tcp, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(&tcp, PROBES_MAX)?;
    let stream = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(tcp)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = match certificate {
        Some(certificate) => Caller::Known(Arc::new(User::certified(identity::of_certificate(certificate)?))),
        None => Caller::Unknown,
    };
    let service = service.for_caller(caller);
    // Connections of HTTP/1.1 may be handed on after an upgrade, to tasks that only write.
    let builder = auto::Builder::new(TokioExecutor::new());
    match stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        true => answer(builder.http2_only(), WriteBatch::new(stream), service, stop).await,
        false => answer(builder.http1_only(), stream, service, stop).await,
    }
}

async fn answer<S>(
    mut builder: auto::Builder<TokioExecutor>,
    stream: S,
    service: ApiService,
    stop: CancellationToken,
) -> Result<(), crate::http::body::BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE_MAX))
        .keep_alive_timeout(KEEP_ALIVE_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    let asked = Arc::new(AtomicBool::new(false));
    let (service, seen) = (TowerToHyperService::new(service), asked.clone());
    let service = service_fn(move |request| {
        seen.store(true, Ordering::Relaxed);
        service.call(request)
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let silent = async {
        tokio::time::sleep(FIRST_REQUEST_MAX).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = silent => Err("no request came in time".into()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}
