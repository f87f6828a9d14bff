//! The node's HTTPS server: logs, exec, attach and port-forward for the API server, and what the node and its Pods use, for clients
//! such as metrics-server. Any certificate of the cluster CA is not enough: who may do what is the API server's to say ([`access`]).

mod access;
mod logs;
mod remote;
mod requests;
pub mod streams;
mod usage;
mod zpages;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use crate::{node::pods::Pods, pod::context::NodeContext, tls};
use bytes::Bytes;
use exposition::zpages::Page;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use k8s_openapi::api::authentication::v1::UserInfo;
pub(crate) use requests::Target;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use transport::{
    server::{KeepAlive, Peer, ServerOptions, Tls, UnauthenticatedLimits},
    tls::TlsError,
};

/// Concurrent connections: every `kubectl logs -f` and `exec` on this node is one.
const CONNECTIONS_MAX: usize = 512;
/// Connections of clients that have shown no credentials yet. The API server, which shows its certificate in the handshake, may
/// begin 64 at the same time.
const UNAUTHENTICATED: UnauthenticatedLimits =
    UnauthenticatedLimits { all: CONNECTIONS_MAX / 4, of_address: 64, deadline: Duration::from_secs(10) };
/// Time limit of a TLS handshake, and from the connection to the first request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of each further request's head, and so of idleness.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence before the first TCP keep-alive probe, time between probes, and probes before the connection is closed: a log
/// stream or an exec whose client's machine has vanished ends within two minutes.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { after: Duration::from_secs(60), every: Duration::from_secs(10), probes: 6 };
/// How long responses in progress may take to end when the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The file that remembers the port.
const PORT_FILE: &str = "server.port";

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServerError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("listening on {0}: {1}")]
    Listen(String, std::io::Error),
}

/// An error that is answered with a `Status` object.
pub(crate) struct StatusError {
    pub code: StatusCode,
    pub message: String,
}

impl StatusError {
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn answer(self) -> Response<Body> {
        let reason = match self.code {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
            StatusCode::NOT_ACCEPTABLE => "NotAcceptable",
            _ => "InternalError",
        };
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": reason, "code": self.code.as_u16(),
        });
        let mut response = Response::new(full(status.to_string()));
        *response.status_mut() = self.code;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A running server.
pub(crate) struct NodeServer {
    /// Where it listens, `ip:port`.
    pub endpoint: String,
    /// Ends it: no further connections, and [`DRAIN_TIMEOUT`] for the open ones.
    pub stop: CancellationToken,
    task: JoinHandle<()>,
}

impl NodeServer {
    /// Waits for the end of its connections.
    pub async fn wait(self) {
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the node's server failed");
        }
    }
}

/// Starts the server. The port of the last start is reused if it is free.
pub(crate) async fn start(context: Arc<NodeContext>, pods: Arc<Pods>) -> Result<NodeServer, ServerError> {
    let ip = &context.config.node_ip;
    let file = context.config.root_dir.join(PORT_FILE);
    let last: u16 =
        std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let listener = match TcpListener::bind((ip.as_str(), last)).await {
        Ok(listener) => listener,
        Err(_) => {
            TcpListener::bind((ip.as_str(), 0)).await.map_err(|e| ServerError::Listen(ip.clone(), e))?
        }
    };
    let address = listener.local_addr().map_err(|e| ServerError::Listen(ip.clone(), e))?;
    if let Err(error) = std::fs::write(&file, address.port().to_string()) {
        tracing::warn!(%error, "cannot write the server's port file");
    }
    let tls = tls::server(&context.config);
    // Reports an unusable certificate at start and not at the first connection.
    tls()?;
    let options = ServerOptions {
        unauthenticated: Some(UNAUTHENTICATED),
        handshake_timeout: HEAD_TIMEOUT,
        first_request_timeout: HEAD_TIMEOUT,
        header_timeout: Some(IDLE_TIMEOUT),
        keep_alive: Some(KEEP_ALIVE),
        drain_timeout: DRAIN_TIMEOUT,
        ..ServerOptions::new("node", CONNECTIONS_MAX)
    };
    let make_service = move |peer: &Peer| {
        let user = Arc::new(peer.certificate.as_deref().and_then(access::user_of));
        let (context, pods, peer) = (context.clone(), pods.clone(), peer.address);
        Ok(service_fn(move |request| serve(request, peer, user.clone(), context.clone(), pods.clone())))
    };
    let stop = CancellationToken::new();
    let serving = transport::server::serve(listener, Tls::Required(tls), options, make_service, stop.clone());
    Ok(NodeServer { endpoint: address.to_string(), stop, task: tokio::spawn(serving) })
}

async fn serve(
    request: Request<Incoming>,
    peer: SocketAddr,
    user: Arc<Option<UserInfo>>,
    context: Arc<NodeContext>,
    pods: Arc<Pods>,
) -> Result<Response<Body>, Infallible> {
    tracing::debug!(%peer, method = %request.method(), path = request.uri().path(), "request");
    let first = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
    context.metrics.count_request(request.method().as_str(), first);
    let asked = (request.method().as_str(), request.uri().path(), request.headers());
    let answer = match access::check(&context, (*user).as_ref(), asked).await {
        Ok(()) => answer(request, context, pods).await,
        Err((code, text)) => return Ok(refused(code, text)),
    };
    Ok(answer.unwrap_or_else(StatusError::answer))
}

/// A refusal as the kubelet writes it.
fn refused(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = code;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    // Who may do nothing keeps no connection from others.
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

async fn answer(
    request: Request<Incoming>,
    context: Arc<NodeContext>,
    pods: Arc<Pods>,
) -> Result<Response<Body>, StatusError> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let query = requests::Query::parse(request.uri().query().unwrap_or_default());
    let get = request.method() == Method::GET;
    match &parts[..] {
        ["healthz"] if get => Ok(Response::new(full("ok"))),
        ["statusz"] => zpages::answer(Page::Statusz, request.headers(), &context.config),
        ["flagz"] => zpages::answer(Page::Flagz, request.headers(), &context.config),
        ["pods"] if get => Ok(json_answer(pod_list(&pods))),
        ["metrics"] if get => metrics(&context),
        ["metrics", "resource"] if get => {
            Ok(text_of_metrics(usage::measure(&context, &pods).await.metrics()))
        }
        ["stats", "summary"] if get => Ok(json_answer(usage::measure(&context, &pods).await.summary())),
        ["containerLogs", namespace, pod, container] if get => {
            let target = Target::new(namespace, pod, Some(container))?;
            let options = requests::log_options(&query)?;
            pods.adopted(&target.namespace, &target.pod).await;
            logs::answer(&context, &pods, &target, options).await
        }
        ["exec", namespace, pod, container] => {
            let target = Target::new(namespace, pod, Some(container))?;
            pods.adopted(&target.namespace, &target.pod).await;
            remote::exec(request, &context, &pods, &target, &query).await
        }
        ["attach", namespace, pod, container] => {
            let target = Target::new(namespace, pod, Some(container))?;
            pods.adopted(&target.namespace, &target.pod).await;
            remote::attach(request, &context, &pods, &target, &query).await
        }
        ["portForward", namespace, pod] => {
            let target = Target::new(namespace, pod, None)?;
            pods.adopted(&target.namespace, &target.pod).await;
            remote::port_forward(request, &context, &pods, &target, &query).await
        }
        _ => Err(StatusError::not_found("404 page not found")),
    }
}

fn json_answer(value: serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn pod_list(pods: &Pods) -> serde_json::Value {
    let items: Vec<serde_json::Value> = pods
        .views()
        .into_iter()
        .map(|view| {
            let mut pod = (*view.pod).clone();
            pod.status = Some(view.status);
            serde_json::to_value(pod).expect("a Pod has only string keys")
        })
        .collect();
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

fn metrics(context: &NodeContext) -> Result<Response<Body>, StatusError> {
    let text = context.metrics.encode();
    let text =
        text.map_err(|error| StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(text_of_metrics(text))
}

fn text_of_metrics(text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    let media_type = header::HeaderValue::from_static(exposition::TEXT_FORMAT);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
