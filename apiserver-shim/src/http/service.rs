//! The facade as one tower service: every request comes through [`ApiService`], whether from a socket or from inside
//! the process. The chain is upstream's: panic → request info → authentication → impersonation → authorisation → route.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::json;
use shim_model::schema::Media;
use shim_model::status::{self, Status};
use tokio::sync::Semaphore;

use crate::auth::authentication::{Authenticator, MASTERS, User, impersonated};
use crate::auth::authorization::{Attributes, Authorizer, refusal};
use crate::http::body::{BoxError, Request, Response, empty};
use crate::http::node_proxy::NodeClient;
use crate::http::objects::{self, ResourceRequest};
use crate::http::request_info::{RequestInfo, Target};
use crate::http::subresources::{self, reviews};
use crate::http::{discovery, health, negotiation, openapi, pretty, reply, version, websocket};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::storage::registry::Registry;

/// Requests that are worked on at once, watches and streams aside; more wait. Bounds memory at some 3 MiB each.
pub const REQUESTS_MAX: usize = 1024;

/// Everything that answering needs.
pub struct Api {
    /// Objects.
    pub registry: Registry,
    /// Writes of users' intent.
    pub pipeline: Pipeline,
    /// Who asks.
    pub authenticator: Authenticator,
    /// Who may.
    pub authorizer: Arc<dyn Authorizer>,
    /// Where executors are.
    pub nodes: NodeEndpoints,
    /// How executors are called.
    pub node_client: NodeClient,
    /// Where clients reach this server, `host:port`.
    pub address: String,
    slots: Semaphore,
}

impl Api {
    /// Puts the parts together.
    pub fn new(
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Arc<dyn Authorizer>,
        nodes: NodeEndpoints,
        node_client: NodeClient,
        address: String,
    ) -> Api {
        let pipeline = Pipeline::new(registry.clone());
        let slots = Semaphore::new(REQUESTS_MAX);
        Api { registry, pipeline, authenticator, authorizer, nodes, node_client, address, slots }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Known already: a client by its certificate, or a part of this process.
    Known(Arc<User>),
    /// A client without a certificate: each of its requests says by a token who asks.
    Unknown,
}

/// The facade for one caller. Clones share.
#[derive(Clone)]
pub struct ApiService {
    api: Arc<Api>,
    caller: Caller,
}

impl ApiService {
    /// The facade for a caller.
    pub fn new(api: Arc<Api>, caller: Caller) -> Self {
        ApiService { api, caller }
    }

    /// The same facade for another caller.
    pub fn for_caller(&self, caller: Caller) -> Self {
        ApiService { api: self.api.clone(), caller }
    }

    /// What it serves from.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Answers a request.
    pub async fn respond(&self, mut request: Request) -> Response {
        let headers = std::mem::take(request.headers_mut());
        let pretty_print = pretty::is_wanted(request.uri(), &headers);
        let head = request.method() == Method::HEAD;
        let answered =
            AssertUnwindSafe(answer(&self.api, &self.caller, &headers, request)).catch_unwind().await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => reply::status(&status, negotiation::accept_for_errors(&headers)),
            Err(_) => {
                tracing::error!("request handler panicked");
                reply::status(&status::internal("the request could not be handled"), Media::Json)
            }
        };
        if pretty_print {
            response = pretty::pretty_print(response).await;
        }
        if head {
            *response.body_mut() = empty();
        }
        reply::add_audit_id(&headers, &mut response);
        reply::compress(&headers, response).await
    }
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}

/// `headers` are the request's, taken out of it.
async fn answer(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    request: Request,
) -> Result<Response, Status> {
    let info = RequestInfo::new(request.method(), request.uri());
    let user = identify(api, caller, headers)?;
    let attributes = Attributes::of(&info);
    let (allowed, reason) = api.authorizer.authorize(&user, &attributes);
    if !allowed {
        return Err(refusal(&user, &attributes, &reason));
    }
    match &info.target {
        Some(target) => {
            let asked = Asked { user: &user, info: &info, target, headers };
            to_resource(api, asked, request).await
        }
        None => to_path(api, &info, request.method(), headers).await,
    }
}

/// Who the request is carried out as.
fn identify(api: &Api, caller: &Caller, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    let user = match caller {
        // A certificate counts before a token, as upstream has it.
        Caller::Known(user) => user.clone(),
        Caller::Unknown => Arc::new(api.authenticator.authenticate(headers)?),
    };
    match impersonated(headers)? {
        None => Ok(user),
        Some(other) if user.is_in(MASTERS) => Ok(Arc::new(other)),
        Some(other) => {
            let target = Target { plural: "users".into(), name: other.name, ..Target::default() };
            let attributes = Attributes { verb: "impersonate", target: Some(&target), path: "" };
            Err(refusal(&user, &attributes, ""))
        }
    }
}

/// What is known of a request for a resource before it is looked up.
struct Asked<'a> {
    user: &'a User,
    info: &'a RequestInfo,
    target: &'a Target,
    headers: &'a HeaderMap,
}

async fn to_resource(api: &Api, asked: Asked<'_>, mut request: Request) -> Result<Response, Status> {
    let Asked { user, info, target, headers } = asked;
    let catalog = &api.registry.catalog();
    if catalog.group(&target.group).is_none() {
        return Ok(discovery::not_found());
    }
    let Some(resource) = target.resource(catalog) else { return Err(status::unknown_path()) };
    if request.method() == Method::HEAD || info.verb.is_empty() {
        return Err(status::method_not_allowed());
    }
    let asked =
        ResourceRequest { catalog, resource, target, query: &info.query, headers, user, verb: info.verb };
    let streams = matches!(target.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy");
    let _slot = match info.verb == "watch" || streams {
        true => None,
        false => api.slots.acquire().await.ok(),
    };
    if !target.subresource.is_empty() {
        if streams {
            // These are passed on as they came.
            request.headers_mut().clone_from(headers);
        }
        return subresources::serve(api, &asked, request).await;
    }
    if reviews::is_review(&resource.group) {
        return reviews::serve(api, &asked, request.into_body()).await;
    }
    if resource.is("", "bindings") {
        return subresources::serve_binding(api, &asked, request.into_body()).await;
    }
    if resource.store().is_none() {
        return Err(status::method_not_allowed());
    }
    if info.verb == "watch" && websocket::is_wanted(headers) {
        let upgrade = request.extensions_mut().remove();
        let answer = objects::serve(api, &asked, request.into_body()).await?;
        return websocket::carry(headers, upgrade, answer);
    }
    objects::serve(api, &asked, request.into_body()).await
}

async fn to_path(
    api: &Api,
    info: &RequestInfo,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let path = info.path.as_str();
    let catalog = api.registry.catalog();
    if let Some(response) = health::serve(&api.registry, path, &info.query).await {
        return Ok(response);
    }
    let readable = matches!(*method, Method::GET);
    if let Some(response) = discovery::serve(&catalog, path, headers, &api.address) {
        // The lists of groups answer to any method, as upstream's do.
        let any = path.starts_with("/apis") && path.trim_matches('/').split('/').count() <= 2;
        return if readable || any { response } else { Err(status::method_not_allowed()) };
    }
    if let Some(response) = openapi::serve(&catalog, path, headers, info.query.text("hash")).await {
        return response;
    }
    match path.trim_end_matches('/') {
        "/version" if !readable => Err(status::method_not_allowed()),
        "/version" => Ok(reply::value(200, Media::Json, &version::value())),
        "/.well-known/openid-configuration" => {
            let value = json!({
                "issuer": api.authenticator.issuer(),
                "jwks_uri": format!("https://{}/openid/v1/jwks", api.address),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            Ok(reply::json(200, value.to_string()))
        }
        "/openid/v1/jwks" => {
            let keys = json!({"keys": [api.authenticator.web_key()]});
            Ok(reply::typed(200, "application/jwk-set+json", keys.to_string()))
        }
        "" => {
            let mut paths: Vec<String> = shim_model::openapi::document_paths(catalog.resources());
            paths.iter_mut().for_each(|p| p.insert(0, '/'));
            paths.extend(
                ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(String::from),
            );
            paths.sort();
            Ok(reply::json(200, json!({"paths": paths}).to_string()))
        }
        _ => Ok(discovery::not_found()),
    }
}
