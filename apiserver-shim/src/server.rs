//! The API server's process-level parts: the TLS listener in front of the service, the objects that every cluster starts
//! with, and the controllers and scheduler that run beside it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::service::TowerToHyperService;
use shim_model::status::Status;
use shim_pki::{Pki, PkiError, ServerNames, identity};
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::BoxError;
use transport::server::{Http2, KeepAlive, Peer, ServerOptions, Tls};
use transport::tls::{ALPN_HTTP, ALPN_HTTP1, ClientCertificate, TlsError, client_config, server_config};

use crate::auth::audit::{AuditLog, AuditOptions};
use crate::auth::authentication::{Authenticator, DEFAULT_AUDIENCE, User};
use crate::auth::authorization::FixedAuthorizer;
use crate::http::node_proxy::node_client;
use crate::http::service::{Api, ApiService, Caller};
use crate::metrics::Registry as Metrics;
use crate::metrics::requests::{INFLIGHT_PERIOD, RequestMetrics};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::storage::registry::Registry;

pub mod bootstrap;
pub mod runners;

/// Concurrent connections: each costs some 40 KiB, so that all of them stay below half a gigabyte.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Time for the head of a request, and idle time of an HTTP/1.1 connection. Longer than clients keep idle connections,
/// so that no request meets a connection that is just being closed.
const HEADERS_MAX: Duration = Duration::from_secs(100);
/// Silence after which the kernel probes a connection, time between probes, and probes until it gives up: an `exec` or a
/// watch over HTTP/1.1 whose client's machine has vanished ends within two minutes.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { after: Duration::from_secs(60), every: Duration::from_secs(10), probes: 6 };
/// HTTP/2: informers of one client watch every resource over one connection.
const HTTP2: Http2 = Http2 { ping_every: Duration::from_secs(30), streams_max: 1000 };
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
    /// What is recorded in the audit log, and where; nothing if not given.
    pub audit: Option<AuditOptions>,
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
    /// The audit log cannot be opened.
    #[error("audit log {} cannot be opened: {source}", path.display())]
    AuditLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A key or certificate is not right.
    #[error("keys cannot be used: {0}")]
    Pki(#[from] PkiError),
    /// There is no usable TLS configuration.
    #[error("keys cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// What every cluster has could not be written.
    #[error("first objects cannot be written: {0}")]
    Bootstrap(#[source] Status),
}

/// A running server.
pub struct ApiHandle {
    service: ApiService,
    local: SocketAddr,
    stop: CancellationToken,
    serving: TaskTracker,
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
    let node_tls = client_config(authority.certificate(), pair, ALPN_HTTP1)?;
    let registry = Registry::open(options.store).await.map_err(StartError::Store)?;
    let audit = match options.audit {
        None => None,
        Some(audit) => {
            let path = audit.path.clone();
            Some(AuditLog::start(audit).map_err(|source| StartError::AuditLog { path, source })?)
        }
    };
    let authenticator =
        Authenticator::new(registry.clone(), &options.pki.service_account_key, DEFAULT_AUDIENCE)?;
    let api = Arc::new(Api::new(
        registry,
        authenticator,
        Arc::new(FixedAuthorizer),
        NodeEndpoints::default(),
        node_client(node_tls),
        SocketAddr::new(options.advertise, local.port()).to_string(),
        audit,
    ));
    bootstrap::run(&api.pipeline, options.advertise, local.port()).await.map_err(StartError::Bootstrap)?;
    let service = ApiService::new(api, Caller::Unknown);
    let stop = CancellationToken::new();
    let for_peers = service.clone();
    let make_service = move |peer: &Peer| for_peer(&for_peers, peer);
    let tls = Tls::Required(Arc::new(move || Ok(tls.clone())));
    let serving = TaskTracker::new();
    serving.spawn(transport::server::serve(listener, tls, server_options(), make_service, stop.clone()));
    serving.spawn(publish_inflight(service.api().requests.clone(), stop.clone()));
    serving.close();
    Ok(ApiHandle { service, local, stop, serving })
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

    /// Everything that `/metrics` shows. Parts that run beside the API add theirs.
    pub fn metrics(&self) -> &Metrics {
        &self.service.api().metrics
    }

    /// Where executors are; whoever learns it writes it here.
    pub fn node_endpoints(&self) -> &NodeEndpoints {
        &self.service.api().nodes
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops listening and ends connections; requests in flight get two seconds to finish.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.serving.wait().await;
        if let Some(audit) = &self.service.api().audit {
            audit.flush().await;
        }
    }
}

impl Drop for ApiHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Publishes the number of requests in flight until the server stops.
async fn publish_inflight(requests: Arc<RequestMetrics>, stop: CancellationToken) {
    let mut period = tokio::time::interval(INFLIGHT_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = period.tick() => requests.publish_inflight(),
        }
    }
}

fn server_options() -> ServerOptions {
    ServerOptions {
        first_request_timeout: HEADERS_MAX,
        header_timeout: Some(HEADERS_MAX),
        keep_alive: Some(KEEP_ALIVE),
        http2: Some(HTTP2),
        drain_timeout: DRAIN_MAX,
        ..ServerOptions::new("api", CONNECTIONS_MAX)
    }
}

/// The service of one connection: a client certificate names its user, otherwise each request brings a token.
fn for_peer(service: &ApiService, peer: &Peer) -> Result<TowerToHyperService<ApiService>, BoxError> {
    let caller = match &peer.certificate {
        Some(der) => Caller::Known(Arc::new(User::certified(identity::of_certificate(der)?))),
        None => Caller::Unknown,
    };
    Ok(TowerToHyperService::new(service.for_connection(caller, peer.address.ip())))
}
