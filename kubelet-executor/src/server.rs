//! The node's HTTPS server: logs, exec, attach and port-forward for the API server, and node status endpoints.
//!
//! Only clients in the group `system:masters` are admitted: any certificate of the cluster CA is not enough, since
//! authorization is the API server's task.

mod logs;
mod remote;
mod requests;
pub mod streams;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{node::pods::Pods, pod::context::NodeContext, transport::tls};
pub(crate) use requests::Target;

/// Concurrent connections: every `kubectl logs -f` and `exec` on this node is one.
const CONNECTIONS_MAX: usize = 512;
/// Time limit of a TLS handshake and of a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The file that remembers the port.
const PORT_FILE: &str = "server.port";
/// The group of administrators.
const MASTERS: &str = "system:masters";

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServerError {
    #[error(transparent)]
    Tls(#[from] crate::transport::tls::TlsError),
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

/// Starts the server and returns its address. The port of the last start is reused if it is free.
pub(crate) async fn start(context: Arc<NodeContext>, pods: Arc<Pods>) -> Result<String, ServerError> {
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
    // Read now to report a broken certificate at start, and again for every connection, since certificates are
    // renewed.
    tls::server(&context.config)?;
    tokio::spawn(serve(listener, context, pods));
    Ok(address.to_string())
}

async fn serve(listener: TcpListener, context: Arc<NodeContext>, pods: Arc<Pods>) {
    let paths = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = paths.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: too many connections");
            continue;
        };
        let (context, pods) = (context.clone(), pods.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, peer, context, pods).await {
                tracing::debug!(%peer, error, "connection ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    context: Arc<NodeContext>,
    pods: Arc<Pods>,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let config = tls::server(&context.config).map_err(|e| e.to_string())?;
    let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(HEAD_TIMEOUT, handshake).await.map_err(|_| "too slow a handshake")?;
    let stream = stream.map_err(|e| e.to_string())?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let allowed = certificate.is_some_and(|certificate| is_administrator(certificate));
    let service = service_fn(move |request| {
        let (context, pods) = (context.clone(), pods.clone());
        async move {
            tracing::debug!(%peer, method = %request.method(), path = request.uri().path(), "request");
            let answer = if allowed {
                answer(request, context, pods).await
            } else {
                Err(StatusError::new(StatusCode::FORBIDDEN, "only the API server may connect"))
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(StatusError::answer))
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(|e| e.to_string())
}

fn is_administrator(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    certificate.subject().iter_organization().any(|group| group.as_str().is_ok_and(|group| group == MASTERS))
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
        ["pods"] if get => Ok(json_answer(pod_list(&pods))),
        ["metrics"] if get => Ok(Response::new(full(metrics(&pods)))),
        ["containerLogs", namespace, pod, container] if get => {
            let target = Target::new(namespace, pod, Some(container))?;
            let wanted = requests::log_options(&query)?;
            logs::answer(&context, &pods, &target, wanted).await
        }
        ["exec", namespace, pod, container] => {
            let target = Target::new(namespace, pod, Some(container))?;
            remote::exec(request, &context, &pods, &target, &query).await
        }
        ["attach", namespace, pod, container] => {
            let target = Target::new(namespace, pod, Some(container))?;
            remote::attach(request, &context, &pods, &target, &query).await
        }
        ["portForward", namespace, pod] => {
            let target = Target::new(namespace, pod, None)?;
            remote::port_forward(request, &context, &pods, &target).await
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

fn metrics(pods: &Pods) -> String {
    let views = pods.views();
    let containers: usize = views.iter().map(|view| view.running.len()).sum();
    let sandboxes = views.iter().filter(|view| view.sandbox.is_some()).count();
    format!(
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n\
         # TYPE kubelet_running_pods gauge\n\
         kubelet_running_pods {sandboxes}\n\
         # HELP kubelet_running_containers Number of containers currently running\n\
         # TYPE kubelet_running_containers gauge\n\
         kubelet_running_containers{{container_state=\"running\"}} {containers}\n"
    )
}
