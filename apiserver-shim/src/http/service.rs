//! The API server as one tower service. All requests pass through [`ApiService`], whether they come from a socket or from
//! inside the process. The handler chain is upstream's: audit → request info → metrics → panic → authentication → audit policy →
//! impersonation → priority and fairness → authorization → route.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use shim_core::kinds::VirtualResource;
use shim_model::schema::Media;
use shim_model::status::{self, Status};
use tokio::sync::Semaphore;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing::field::Empty;
use transport::client::Client;

use crate::aggregation::Aggregator;
use crate::auth::audit::record::{DECISION, REASON};
use crate::auth::audit::{AuditId, AuditLog, AuditRequest};
use crate::auth::authentication::{Authenticator, User};
use crate::auth::authorization::{AccessControl, refusal, request_of};
use crate::flow_control::{Asking, FlowControl};
use crate::http::audit::{self, AuditLayer, Audited, AuditedRequest, AuditedResponse};
use crate::http::body::{BoxError, Request, Response, empty};
use crate::http::component_statuses::{self, ComponentTasks};
use crate::http::deadline::Deadline;
use crate::http::flow_control::{self, Admitted};
use crate::http::forward::Forwarded;
use crate::http::impersonation::impersonate;
use crate::http::measure::{self, Measurement};
use crate::http::node_proxy::NodeClient;
use crate::http::objects::{self, ResourceRequest};
use crate::http::subresources::{self, proxy_client, reviews};
use crate::http::version::ServerProcess;
use crate::http::{aggregated, discovery, negotiation, paths, pretty, reply, routes, websocket};
use crate::metrics::{self, health::HealthMetrics, requests::RequestMetrics};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::{Pipeline, RequestContext, Warnings};
use crate::request::info::{RequestInfo, Target};
use crate::storage::catalog::{Catalog, ServedResource};
use crate::storage::registry::Registry;

/// Concurrent requests, except watches and streams; further requests wait. Bounds the memory of bodies, up to 3 MiB
/// each.
pub const REQUESTS_MAX: usize = 1024;

/// The shared state of all request handlers.
pub struct Api {
    /// Read access to objects.
    pub registry: Registry,
    /// Writes objects.
    pub pipeline: Pipeline,
    /// Authenticates requests.
    pub authenticator: Authenticator,
    /// The addresses of the executors.
    pub nodes: NodeEndpoints,
    /// The client for executors.
    pub node_client: NodeClient,
    /// The client of `proxy`.
    pub proxy_client: Client,
    /// Aggregated API servers.
    pub aggregator: Aggregator,
    /// The address that clients use, `host:port`.
    pub address: String,
    /// The audit log; `None` if audit is disabled.
    pub audit: Option<Arc<AuditLog>>,
    /// The process that the server is in.
    pub process: ServerProcess,
    /// The registry behind `/metrics`.
    pub metrics: metrics::Registry,
    /// The outcomes of health checks, behind `/metrics/slis`.
    pub health: HealthMetrics,
    /// The metrics of requests.
    pub requests: Arc<RequestMetrics>,
    /// Priority and fairness.
    pub flow: FlowControl,
    /// The tasks of scheduler and controllers.
    pub components: ComponentTasks,
    slots: Semaphore,
}

impl Api {
    /// Creates the state shared by all request handlers.
    pub fn new(
        pipeline: Pipeline,
        authenticator: Authenticator,
        nodes: NodeEndpoints,
        node_client: NodeClient,
        aggregator: Aggregator,
        address: String,
        audit: Option<Arc<AuditLog>>,
    ) -> Api {
        let registry = pipeline.registry().clone();
        let pipeline = pipeline.with_audit(audit.clone());
        let slots = Semaphore::new(REQUESTS_MAX);
        let requests = Arc::new(RequestMetrics::new());
        let metrics = metrics::Registry::new();
        requests.register(&metrics);
        registry.register_metrics(&metrics);
        pipeline.register_metrics(&metrics);
        let flow = FlowControl::new(registry.clone());
        flow.register_metrics(&metrics);
        metrics::register(&metrics, metrics::process::collector());
        if let Some(audit) = &audit {
            audit.register_metrics(&metrics);
        }
        Api {
            registry,
            pipeline,
            authenticator,
            nodes,
            node_client,
            proxy_client: proxy_client(),
            aggregator,
            address,
            audit,
            process: ServerProcess::default(),
            metrics,
            health: HealthMetrics::new(),
            requests,
            flow,
            components: ComponentTasks::default(),
            slots,
        }
    }

    /// Authorizes requests.
    pub fn access(&self) -> &AccessControl {
        self.pipeline.access()
    }

    /// In a process.
    pub fn of_process(self, process: ServerProcess) -> Api {
        Api { process, ..self }
    }
}

/// The peer of a connection.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An authenticated peer: a client with a certificate, or a component of this process.
    Known(Arc<User>),
    /// A client without a certificate; its requests are authenticated by token.
    Unknown,
}

/// The API server for one caller: [`Handlers`] wrapped in the audit layer. Clones share.
#[derive(Clone)]
pub struct ApiService {
    audited: Audited<Handlers>,
}

impl ApiService {
    /// The service for a caller inside this process, or one whose address is unknown.
    pub fn new(api: Arc<Api>, caller: Caller) -> Self {
        ApiService::with_peer(api, caller, None)
    }

    fn with_peer(api: Arc<Api>, caller: Caller, peer: Option<IpAddr>) -> Self {
        let layer = AuditLayer { log: api.audit.clone(), peer };
        ApiService { audited: layer.layer(Handlers(Arc::new(Connection { api, caller }))) }
    }

    /// The same service for another caller.
    pub fn for_caller(&self, caller: Caller) -> Self {
        ApiService::new(self.api().clone(), caller)
    }

    /// The service for a connection from `peer`.
    pub fn for_connection(&self, caller: Caller, peer: IpAddr) -> Self {
        ApiService::with_peer(self.api().clone(), caller, Some(peer))
    }

    /// The shared state.
    pub fn api(&self) -> &Arc<Api> {
        &self.audited.inner.0.api
    }

    /// Handles a request.
    pub async fn respond(&self, request: Request) -> Response {
        let answered = self.audited.clone().call(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = AuditedResponse<Handling>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.audited.call(request)
    }
}

/// Handles requests; the panic handler is the outermost part. Each request clones it: that counts references to the
/// connection, which no other connection's thread writes to.
#[derive(Clone)]
pub struct Handlers(Arc<Connection>);

/// What the requests of a connection share.
struct Connection {
    api: Arc<Api>,
    caller: Caller,
}

/// The future of a response of [`Handlers`].
pub type Handling = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl tower::Service<AuditedRequest> for Handlers {
    type Response = Response;
    type Error = Infallible;
    type Future = Handling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: AuditedRequest) -> Self::Future {
        let handlers = self.clone();
        Box::pin(async move { Ok(handlers.respond(request).await) })
    }
}

impl Handlers {
    async fn respond(&self, request: AuditedRequest) -> Response {
        let AuditedRequest { mut request, id: audit_id, audit } = request;
        let headers = std::mem::take(request.headers_mut());
        let pretty_print = pretty::is_wanted(request.uri(), &headers);
        let head = request.method() == Method::HEAD;
        let api = &*self.0.api;
        let span = tracing::info_span!(
            "request",
            %audit_id,
            verb = Empty,
            resource = Empty,
            namespace = Empty,
            name = Empty,
        );
        let info = RequestInfo::new(request.method(), request.uri());
        let catalog = api.registry.catalog();
        let resource = info.target.as_ref().and_then(|target| target.resource(&catalog));
        let measurement = Measurement::begin(&api.requests, (request.method(), &headers), &info, resource);
        let inflight = match measurement.is_long_running() {
            true => None,
            false => Some(api.requests.begin(!matches!(info.verb, "get" | "list" | "watch"))),
        };
        let arrived = Arrived { info: &info, catalog: &catalog, resource, headers: &headers };
        let (warnings, mut admitted) = (Warnings::default(), None);
        let audited = (audit_id, audit.as_deref());
        let answering = answer_in_time(&self.0, arrived, request, audited, (&warnings, &mut admitted));
        let answered = AssertUnwindSafe(answering.instrument(span)).catch_unwind().await;
        let refused = |status: Status| {
            let mut response = reply::status(&status, negotiation::accept_for_errors(&headers));
            if audit.is_some() {
                response.extensions_mut().insert(Arc::new(status));
            }
            response
        };
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => refused(status),
            Err(_) => {
                tracing::error!("request handler panicked");
                let status = status::internal("the request handler panicked");
                let mut response = reply::status(&status, Media::Json);
                response.extensions_mut().insert(audit::Panicked);
                response
            }
        };
        reply::add_warnings(&mut response, &warnings.take());
        if let Some(record) = audit.as_ref().and_then(|audit| audit.record()) {
            let kept = Box::pin(audit::keep_response(record, response)).await;
            response = kept.unwrap_or_else(refused);
        }
        let is_forwarded = response.extensions().get::<Forwarded>().is_some();
        if pretty_print && !is_forwarded {
            response = Box::pin(pretty::pretty_print(response)).await;
        }
        if head {
            *response.body_mut() = empty();
        }
        let response = flow_control::finish(admitted, reply::compress(&headers, response).await);
        drop(inflight);
        measure::end(measurement, &api.requests, resource, response)
    }
}

/// A request before authentication.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    info: &'a RequestInfo,
    /// The catalog when the request arrived.
    catalog: &'a Arc<Catalog>,
    /// The resource that is served at the request's path.
    resource: Option<&'a Arc<ServedResource>>,
    /// The headers, taken out of the request.
    headers: &'a HeaderMap,
}

/// Answers within the request's time.
async fn answer_in_time(
    connection: &Connection,
    arrived: Arrived<'_>,
    request: Request,
    audited: (AuditId, Option<&AuditRequest>),
    left: (&Warnings, &mut Option<Admitted>),
) -> Result<Response, Status> {
    let deadline = match Deadline::new(arrived.info, Instant::now()) {
        Ok(deadline) => deadline,
        Err(invalid) => {
            if let (_, Some(audit)) = audited {
                Box::pin(audit.unauthenticated(arrived.info, &invalid)).await;
            }
            return Err(invalid);
        }
    };
    // One way for all: a future has room for each of its branches.
    let answering = answer(connection, (arrived, deadline), request, audited, left);
    match tokio::time::timeout_at(deadline.end().into(), answering).await {
        // An error after the end is a consequence of it.
        Ok(answered) if answered.is_ok() || Instant::now() < deadline.end() => answered,
        Ok(_) | Err(_) => Err(status::timeout("request did not complete within the allotted timeout", 0)),
    }
}

async fn answer(
    connection: &Connection,
    (arrived, deadline): (Arrived<'_>, Deadline),
    mut request: Request,
    (audit_id, audit): (AuditId, Option<&AuditRequest>),
    (warnings, admitted): (&Warnings, &mut Option<Admitted>),
) -> Result<Response, Status> {
    let Connection { api, caller } = connection;
    let Arrived { info, headers, .. } = arrived;
    measure::record_span(info);
    let authenticated = match caller {
        // As upstream, a certificate takes precedence over a token.
        Caller::Known(user) => user.clone(),
        Caller::Unknown => match api.authenticator.authenticate(headers, &info.path).await {
            Ok(user) => Arc::new(user),
            Err(status) => {
                if let Some(audit) = audit {
                    Box::pin(audit.unauthenticated(info, &status)).await;
                }
                return Err(status);
            }
        },
    };
    let record = match audit {
        Some(audit) => Box::pin(audit.begin(&authenticated, info)).await,
        None => None,
    };
    let (user, impersonator) = impersonate(api, authenticated, headers).await?;
    if let (Some(record), Some(_)) = (&record, &impersonator) {
        record.impersonate(&user);
    }
    let asks = request_of(info);
    let about = (info, arrived.resource, deadline);
    let asking = Asking { user: &user, access: &asks, method: request.method(), uri: request.uri() };
    if let Err(refusal) = flow_control::enter(&api.flow, asking, about, admitted).await {
        return Ok(refusal);
    }
    let decision = api.access().decide(&user, &asks).await;
    if let Some(record) = &record {
        record.annotate(DECISION, if decision.allowed { "allow" } else { "forbid" }.to_owned());
        record.annotate(REASON, decision.reason.clone());
    }
    if !decision.allowed {
        return Err(refusal(&user, &asks, &decision.reason));
    }
    if let Some(record) = &record {
        request = Box::pin(audit::keep_request(record, request)).await?;
    }
    // The headers are forwarded unchanged.
    let onward = || {
        let mut onward = std::mem::replace(&mut request, http::Request::new(empty()));
        onward.headers_mut().clone_from(headers);
        onward
    };
    if let Some(answer) = aggregated::serve(&api.aggregator, &info.path, &user, onward).await {
        return answer;
    }
    let mut context = RequestContext::new(user, info.verb, audit_id).with_warnings(warnings);
    (context.impersonator, context.audit) = (impersonator, record);
    context.deadline = Some(deadline.of_admission());
    match &info.target {
        Some(target) => {
            context.subresource.clone_from(&target.subresource);
            let asked = UnresolvedRequest { context: &context, target, arrived };
            to_resource(api, asked, request).await
        }
        None => Box::pin(paths::serve(api, info, request.method(), headers)).await,
    }
}

/// A request for a resource before the resource is looked up.
#[derive(Clone, Copy)]
struct UnresolvedRequest<'a> {
    context: &'a RequestContext,
    target: &'a Target,
    arrived: Arrived<'a>,
}

/// Serves a resource. The futures of all handlers but GET's are boxed: a future is as large as its largest branch, and it is
/// copied to the heap with each request.
async fn to_resource(api: &Api, asked: UnresolvedRequest<'_>, request: Request) -> Result<Response, Status> {
    let UnresolvedRequest { context, target, arrived } = asked;
    let Arrived { catalog, resource, .. } = arrived;
    let mut of_group = catalog.resources().filter(|row| row.group == target.group);
    if resource.is_none() && of_group.all(|row| row.custom.is_some()) {
        // No group of this server, or one of definitions only.
        return Ok(discovery::not_found());
    }
    let Some(resource) = resource else { return Err(status::unknown_path()) };
    let whole = resource.custom.is_some() && resource.namespaced && target.namespace.is_empty();
    if whole && !matches!(arrived.info.verb, "list" | "watch") {
        return Ok(discovery::not_found());
    }
    routes::check(resource, arrived.info, request.method())?;
    let of_version = resource.custom.as_ref().and_then(|custom| custom.deprecation.as_deref());
    if let Some(warning) = of_version.or_else(|| resource.strategy().deprecation()) {
        context.warn(warning);
    }
    to_served(api, asked, request).await
}

/// Serves a resource that is in the catalog.
async fn to_served(
    api: &Api,
    asked: UnresolvedRequest<'_>,
    mut request: Request,
) -> Result<Response, Status> {
    let UnresolvedRequest { context, target, arrived } = asked;
    let Arrived { info, catalog, resource, headers } = arrived;
    let Some(resource) = resource else { return Err(status::unknown_path()) };
    let proxied = target.subresource == "proxy";
    if (request.method() == Method::HEAD || info.verb.is_empty()) && !proxied {
        return Err(status::method_not_allowed());
    }
    let query = &info.query;
    let asked = ResourceRequest { catalog, resource, target, query, headers, context, verb: info.verb };
    let streams = matches!(target.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy");
    let _slot = match info.verb == "watch" || streams {
        true => None,
        false => api.slots.acquire().await.ok(),
    };
    if !target.subresource.is_empty() {
        if streams {
            // The headers are forwarded unchanged.
            request.headers_mut().clone_from(headers);
        }
        return Box::pin(subresources::serve(api, &asked, request)).await;
    }
    match resource.strategy().virtual_resource() {
        Some(VirtualResource::Review) => {
            return Box::pin(reviews::serve(api, &asked, request.into_body())).await;
        }
        Some(VirtualResource::Binding) => {
            return Box::pin(subresources::serve_binding(api, &asked, request.into_body())).await;
        }
        Some(VirtualResource::ComponentStatus) => {
            return Box::pin(component_statuses::serve(api, &asked)).await;
        }
        None => {}
    }
    if resource.store().is_none() {
        return Err(status::method_not_allowed());
    }
    if info.verb == "watch" && websocket::is_wanted(headers) {
        let upgrade = request.extensions_mut().remove();
        let answer = Box::pin(objects::serve(api, &asked, request.into_body())).await?;
        return websocket::carry_watch(headers, upgrade, answer);
    }
    objects::serve(api, &asked, request.into_body()).await
}
