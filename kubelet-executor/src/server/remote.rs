//! exec, attach and port-forward: negotiates the client's protocol and connects it to the runtime.

use std::sync::Arc;

use cri::v1;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use transport::relay::relay;

use super::{
    Body, StatusError, full,
    requests::{Query, Target},
};
use crate::{
    machine::dead_pipes,
    node::pods::Pods,
    pod::{context::NodeContext, worker::PodView},
    server::streams::{
        bridge::{self, Encoding, Session, StreamOptions},
        upstream::{self, STREAM_PROTOCOL, UpstreamError},
        websocket,
    },
};

/// WebSocket subprotocols of exec and attach. Without one it is the oldest.
const REMOTE_COMMAND: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
/// The WebSocket subprotocol of port-forward that carries SPDY.
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// All of port-forward; those with a channel for each of a port's streams are for libraries that know no SPDY.
const PORT_FORWARD: [&str; 4] = [PORT_FORWARD_TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];
/// The most ports of one WebSocket: each has two channels, whose number is a byte.
const PORTS_MAX: usize = 127;

fn find_pod(pods: &Pods, target: &Target) -> Result<PodView, StatusError> {
    pods.find(&target.namespace, &target.pod).ok_or_else(|| {
        StatusError::not_found(format!("pod {}/{} is not on this node", target.namespace, target.pod))
    })
}

/// The id of a running container, and that of its sandbox.
fn running(pods: &Pods, target: &Target) -> Result<(String, Option<String>), StatusError> {
    let view = find_pod(pods, target)?;
    let sandbox = view.sandbox.map(|sandbox| sandbox.id);
    let container = view.running.get(&target.container).cloned().ok_or_else(|| {
        // kubectl prefixes this with "unable to upgrade connection".
        let message = format!("container not found (\"{}\")", target.container);
        StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok((container, sandbox))
}

fn options(query: &Query) -> Result<StreamOptions, StatusError> {
    let either = |new, old| query.is_set(new) || query.is_set(old);
    let options = StreamOptions {
        stdin: either("stdin", "input"),
        stdout: either("stdout", "output"),
        stderr: either("stderr", "error"),
        tty: query.is_set("tty"),
    };
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(StatusError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(options)
}

fn runtime_error(error: cri::Error) -> StatusError {
    StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, error.message)
}

fn upstream_error(error: UpstreamError) -> StatusError {
    StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

pub(super) async fn exec(
    request: Request<Incoming>,
    context: &Arc<NodeContext>,
    pods: &Pods,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let options = options(query)?;
    let cmd = query.all("command");
    if cmd.is_empty() {
        return Err(StatusError::bad_request("you must specify the command"));
    }
    let (container_id, sandbox) = running(pods, target)?;
    let call = v1::ExecRequest {
        container_id,
        cmd,
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr && !options.tty,
    };
    let url = context.runtime.exec_url(call).await.map_err(runtime_error)?;
    remote_command(request, url, options, sandbox).await
}

pub(super) async fn attach(
    request: Request<Incoming>,
    context: &Arc<NodeContext>,
    pods: &Pods,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let mut options = options(query)?;
    // The container decides whether there is a terminal, not the client.
    let pod = find_pod(pods, target)?.pod;
    options.tty =
        executor_core::spec::container(&pod, &target.container).is_some_and(|c| c.tty == Some(true));
    let (container_id, sandbox) = running(pods, target)?;
    let call = v1::AttachRequest {
        container_id,
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr && !options.tty,
    };
    let url = context.runtime.attach_url(call).await.map_err(runtime_error)?;
    remote_command(request, url, options, sandbox).await
}

async fn remote_command(
    request: Request<Incoming>,
    url: String,
    options: StreamOptions,
    sandbox: Option<String>,
) -> Result<Response<Body>, StatusError> {
    let sandbox = sandbox.filter(|_| options.stdin);
    if is_spdy(&request) {
        return join(request, &url, sandbox).await;
    }
    if !websocket::is_requested(request.headers()) {
        return Err(StatusError::bad_request("unable to upgrade: missing upgrade headers in request"));
    }
    let Some(protocol) = websocket::choose(request.headers(), &REMOTE_COMMAND) else {
        return Err(StatusError::bad_request(format!(
            "unable to upgrade: supported subprotocols: {}",
            REMOTE_COMMAND[..REMOTE_COMMAND.len() - 1].join(", ")
        )));
    };
    let session = Session::open(&url, options).await.map_err(upstream_error)?;
    Ok(carry(request, session, protocol, sandbox))
}

/// Completes the handshake of a WebSocket whose channels are the streams of a session.
fn carry(
    request: Request<Incoming>,
    session: Session,
    protocol: &'static str,
    sandbox: Option<String>,
) -> Response<Body> {
    let answer = websocket::accept(request.headers(), protocol);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let encoding = Encoding::of(protocol);
            with_input(sandbox, session.carry(websocket::open(upgraded).await, encoding)).await;
        }
    });
    answer
}

/// The ports of a port-forward, in the order of their channels. The messages are upstream's.
fn ports(query: &Query) -> Result<Vec<u16>, StatusError> {
    let all = query.all("ports");
    let mut ports = Vec::new();
    for text in all.iter().flat_map(|list| list.split(',')) {
        let port: u16 = text.parse().map_err(|_| {
            StatusError::bad_request(format!("unable to parse {text:?} as a port: invalid syntax"))
        })?;
        if port == 0 {
            return Err(StatusError::bad_request(format!("port {text:?} must be > 0")));
        }
        ports.push(port);
    }
    match ports.len() {
        0 => Err(StatusError::bad_request("query parameter \"port\" is required")),
        1..=PORTS_MAX => Ok(ports),
        count => {
            Err(StatusError::bad_request(format!("{count} ports; a WebSocket carries {PORTS_MAX} at most")))
        }
    }
}

pub(super) async fn port_forward(
    request: Request<Incoming>,
    context: &Arc<NodeContext>,
    pods: &Pods,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let sandbox = find_pod(pods, target)?.sandbox;
    let sandbox = sandbox
        .ok_or_else(|| StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, "the pod has no sandbox"))?;
    let url = context.runtime.port_forward_url(&sandbox.id).await.map_err(runtime_error)?;
    if is_spdy(&request) {
        return join(request, &url, None).await;
    }
    if !websocket::is_requested(request.headers()) {
        return Err(StatusError::bad_request("unable to upgrade: missing upgrade headers in request"));
    }
    let Some(protocol) = websocket::choose(request.headers(), &PORT_FORWARD) else {
        let known = PORT_FORWARD[..PORT_FORWARD.len() - 1].join(", ");
        return Err(StatusError::bad_request(format!("unable to upgrade: supported subprotocols: {known}")));
    };
    if protocol != PORT_FORWARD_TUNNEL {
        let session = Session::open_ports(&url, &ports(query)?).await.map_err(upstream_error)?;
        return Ok(carry(request, session, protocol, None));
    }
    let protocol = HeaderValue::from_static("portforward.k8s.io");
    let upstream = upstream::connect(&url, &[protocol]).await.map_err(upstream_error)?;
    let answer = websocket::accept(request.headers(), PORT_FORWARD_TUNNEL);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            bridge::untunnel(websocket::open(upgraded).await, upstream).await;
        }
    });
    Ok(answer)
}

fn is_spdy(request: &Request<Incoming>) -> bool {
    websocket::has_token(request.headers(), header::UPGRADE, "SPDY/3.1")
}

/// Runs a stream with input to a container of a sandbox. Input that its command leaves unread must not keep the runtime from
/// reporting the exit code.
async fn with_input(sandbox: Option<String>, stream: impl Future<Output = ()>) {
    let drain = async {
        if let Some(sandbox) = sandbox {
            dead_pipes::drain(sandbox).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = stream => {}
        () = drain => {}
    }
}

/// Connects an SPDY client to the runtime byte by byte.
async fn join(
    request: Request<Incoming>,
    url: &str,
    sandbox: Option<String>,
) -> Result<Response<Body>, StatusError> {
    let protocols: Vec<HeaderValue> =
        request.headers().get_all(STREAM_PROTOCOL).into_iter().cloned().collect();
    let upstream = upstream::connect(url, &protocols).await.map_err(upstream_error)?;
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    if let Some(protocol) = &upstream.protocol {
        headers.insert(STREAM_PROTOCOL, protocol.clone());
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            with_input(sandbox, relay(TokioIo::new(upgraded), upstream.stream)).await;
        }
    });
    Ok(answer)
}
