//! The API server process: the TLS listener in front of the service, the bootstrap objects, and the controllers and
//! scheduler that run beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::service::TowerToHyperService;
use shim_core::service_cidr::ServiceCidr;
use shim_model::status::Status;
use shim_pki::{Pki, PkiError, ServerNames, identity};
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::BoxError;
use transport::server::{HeadLimits, Http2, KeepAlive, Peer, ServerOptions, Tls};
use transport::tls::{ALPN_HTTP, ALPN_HTTP1, ClientCertificate, TlsError, client_config, server_config};

use crate::aggregation::{Aggregator, availability, registration};
use crate::auth::audit::{AuditLog, AuditOptions};
use crate::auth::authentication::{Authenticator, DEFAULT_AUDIENCE, User};
use crate::auth::oidc::{AuthenticationOptions, Issuers, OidcError};
use crate::custom_resources::CustomResources;
use crate::http::component_statuses::ComponentTasks;
use crate::http::node_proxy::node_client;
use crate::http::service::{Api, ApiService, Caller};
pub use crate::http::version::BuildInfo;
use crate::http::version::ServerProcess;
use crate::metrics::Registry as Metrics;
use crate::metrics::requests::{INFLIGHT_PERIOD, RequestMetrics};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::{AdmissionConfiguration, Pipeline};
use crate::server::bootstrap::Bootstrap;
use crate::storage::registry::Registry;

pub mod bootstrap;
pub mod certificate_signer;
mod node_leases;
pub mod runners;
pub mod secret_token_uses;

/// Concurrent connections. Each costs about 40 KiB, so that together they stay below 400 MiB.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Timeout for the head of a request, and idle timeout of HTTP/1.1 connections. Longer than clients keep idle
/// connections, so that no request is sent on a connection that is being closed.
const HEADERS_MAX: Duration = Duration::from_secs(100);
/// TCP keep-alive: idle time before the first probe, interval, and number of probes. Detects a vanished peer of an
/// `exec` or HTTP/1.1 watch within two minutes.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { after: Duration::from_secs(60), every: Duration::from_secs(10), probes: 6 };
/// HTTP/2 settings. The informers of one client watch all resources over one connection.
const HTTP2: Http2 = Http2 { ping_every: Duration::from_secs(30), streams_max: 1000 };
/// Limits on the heads of requests. Tokens of identity providers name all groups of a user, and so do the headers of impersonation.
const HEAD: HeadLimits = HeadLimits { bytes_max: 400 << 10, headers_max: 1000 };
/// Time for connections to finish when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Options of an API server.
pub struct ApiOptions {
    /// The store of all objects.
    pub store: Arc<dyn Store>,
    /// The cluster's keys and certificates.
    pub pki: Arc<Pki>,
    /// The address to listen on; port 0 picks a free port.
    pub listen: SocketAddr,
    /// The address under which other machines reach this server.
    pub advertise: IpAddr,
    /// Further host names and addresses for the serving certificate.
    pub names: ServerNames,
    /// The audit log and policy; `None` disables audit.
    pub audit: Option<AuditOptions>,
    /// The configuration of admission plugins.
    pub admission: AdmissionConfiguration,
    /// Users of other issuers.
    pub authentication: AuthenticationOptions,
    /// The range of cluster IPs.
    pub service_cidr: ServiceCidr,
    /// What `/version` says of this build.
    pub build: BuildInfo,
    /// The flags of this process with their values, secrets redacted, for `/flagz`.
    pub flags: BTreeMap<String, String>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    /// The listener could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// The store is unavailable.
    #[error("cannot list objects: {0}")]
    Store(#[source] store::Error),
    /// The audit log cannot be opened.
    #[error("audit log {} cannot be opened: {source}", path.display())]
    AuditLog { path: PathBuf, source: std::io::Error },
    /// A key or certificate is invalid.
    #[error("invalid key or certificate: {0}")]
    Pki(#[from] PkiError),
    /// The issuers of tokens cannot be used.
    #[error("invalid authentication configuration: {0}")]
    Issuers(#[from] OidcError),
    /// The TLS configuration is invalid.
    #[error("invalid TLS configuration: {0}")]
    Tls(#[from] TlsError),
    /// A bootstrap object could not be written.
    #[error("cannot write bootstrap objects: {0}")]
    Bootstrap(#[source] Status),
}

/// A running server.
pub struct ApiHandle {
    service: ApiService,
    local: SocketAddr,
    stop: CancellationToken,
    serving: TaskTracker,
}

/// Starts a server. It accepts requests when this returns.
pub async fn start(options: ApiOptions) -> Result<ApiHandle, StartError> {
    let address = options.listen;
    let listen = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let mut names = options.names;
    names.addresses.extend([options.advertise, local.ip(), options.service_cidr.api_server().into()]);
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
    let registry =
        Registry::open_with(options.store, options.service_cidr).await.map_err(StartError::Store)?;
    let audit = match options.audit {
        None => None,
        Some(audit) => {
            let path = audit.path.clone();
            Some(AuditLog::start(audit).map_err(|source| StartError::AuditLog { path, source })?)
        }
    };
    let issuers = Arc::new(Issuers::start(options.authentication)?);
    let (authenticator, token_uses) =
        Authenticator::new(registry.clone(), &options.pki.service_account_key, DEFAULT_AUDIENCE)?
            .with_issuers(issuers.clone())
            .reporting_uses();
    let front_proxy = options.pki.front_proxy.issue_front_proxy_client(now)?;
    let pipeline = Pipeline::configured(registry.clone(), &options.admission);
    let aggregator = Aggregator::new(registry, pipeline.clients().clone(), Some(front_proxy));
    let api = Api::new(
        pipeline,
        authenticator,
        NodeEndpoints::default(),
        node_client(node_tls),
        aggregator,
        SocketAddr::new(options.advertise, local.port()).to_string(),
        audit,
    );
    let stop = CancellationToken::new();
    let process = ServerProcess { build: options.build, flags: options.flags, stopping: stop.clone() };
    let api = Arc::new(api.of_process(process));
    let bootstrap = Bootstrap {
        advertise: options.advertise,
        port: local.port(),
        client_ca: authority.certificate(),
        front_proxy_ca: options.pki.front_proxy.certificate(),
    };
    bootstrap.run(&api.pipeline).await.map_err(StartError::Bootstrap)?;
    let custom_resources = CustomResources::start(api.pipeline.clone()).await;
    let service = ApiService::new(api, Caller::Unknown);
    let for_peers = service.clone();
    let make_service = move |peer: &Peer| for_peer(&for_peers, peer);
    let tls = Tls::Required(Arc::new(move || Ok(tls.clone())));
    let serving = TaskTracker::new();
    serving.spawn(transport::server::serve(listener, tls, server_options(), make_service, stop.clone()));
    spawn_tasks(&serving, &stop, service.api(), custom_resources);
    serving.spawn(stop.clone().run_until_cancelled_owned(issuers.follow()));
    let noting = secret_token_uses::note(token_uses, service.api().pipeline.clone());
    serving.spawn(stop.clone().run_until_cancelled_owned(noting));
    serving.close();
    Ok(ApiHandle { service, local, stop, serving })
}

/// Starts what runs beside the listener, until the server stops.
fn spawn_tasks(
    serving: &TaskTracker,
    stop: &CancellationToken,
    api: &Api,
    custom_resources: CustomResources,
) {
    let (pipeline, aggregator) = (&api.pipeline, &api.aggregator);
    serving.spawn(publish_inflight(api.requests.clone(), stop.clone()));
    serving.spawn(stop.clone().run_until_cancelled_owned(api.flow.clone().run()));
    serving.spawn(stop.clone().run_until_cancelled_owned(custom_resources.run()));
    serving.spawn(stop.clone().run_until_cancelled_owned(registration::run(pipeline.clone())));
    let checks = availability::run(pipeline.clone(), aggregator.clone());
    serving.spawn(stop.clone().run_until_cancelled_owned(checks));
}

impl ApiHandle {
    /// Read access to the objects.
    pub fn registry(&self) -> &Registry {
        &self.service.api().registry
    }

    /// The write pipeline, the same that serves users' requests.
    pub fn pipeline(&self) -> &Pipeline {
        &self.service.api().pipeline
    }

    /// The service for a component of this process that acts as `user`.
    pub fn service(&self, user: &str) -> ApiService {
        self.service.for_caller(Caller::Known(Arc::new(User::system(user))))
    }

    /// The registry behind `/metrics`. Components beside the API register their metrics here.
    pub fn metrics(&self) -> &Metrics {
        &self.service.api().metrics
    }

    /// The tasks of scheduler and controllers, for ComponentStatuses.
    pub fn components(&self) -> &ComponentTasks {
        &self.service.api().components
    }

    /// The addresses of the executors; the scheduler driver updates them.
    pub fn node_endpoints(&self) -> &NodeEndpoints {
        &self.service.api().nodes
    }

    /// The address of the listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops the listener and closes connections; requests in flight have two seconds to finish.
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
        head: Some(HEAD),
        keep_alive: Some(KEEP_ALIVE),
        http2: Some(HTTP2),
        drain_timeout: DRAIN_MAX,
        ..ServerOptions::new("api", CONNECTIONS_MAX)
    }
}

/// The service for one connection. A client certificate identifies the user; otherwise each request carries a token.
fn for_peer(service: &ApiService, peer: &Peer) -> Result<TowerToHyperService<ApiService>, BoxError> {
    let caller = match &peer.certificate {
        Some(der) => Caller::Known(Arc::new(User::certified(identity::of_certificate(der)?))),
        None => Caller::Unknown,
    };
    Ok(TowerToHyperService::new(service.for_connection(caller, peer.address.ip())))
}
