//! exec, attach and port-forward at the door: which protocol the client speaks, and whom to join it to.

use std::sync::Arc;

use cri::v1;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    Body, Refusal, full,
    requests::{Query, Target},
};
use crate::{
    node::pods::Pods,
    pod::{shared::Shared, worker::View},
    server::streams::{
        bridge::{self, Session, Wanted},
        upstream::{self, STREAM_PROTOCOL, UpstreamError},
        websocket,
    },
};

/// Sub-protocols of exec and attach over a WebSocket, best first.
const REMOTE_COMMAND: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The sub-protocol of a port-forward over a WebSocket.
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

fn view(pods: &Pods, target: &Target) -> Result<View, Refusal> {
    pods.find(&target.namespace, &target.pod).ok_or_else(|| {
        Refusal::not_found(format!("pod {}/{} is not on this node", target.namespace, target.pod))
    })
}

fn running(pods: &Pods, target: &Target) -> Result<String, Refusal> {
    let view = view(pods, target)?;
    view.running.get(&target.container).cloned().ok_or_else(|| {
        // kubectl puts its own "unable to upgrade connection" before this.
        let message = format!("container not found (\"{}\")", target.container);
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })
}

fn wanted(query: &Query) -> Result<Wanted, Refusal> {
    let either = |new, old| query.is_set(new) || query.is_set(old);
    let wanted = Wanted {
        stdin: either("stdin", "input"),
        stdout: either("stdout", "output"),
        stderr: either("stderr", "error"),
        tty: query.is_set("tty"),
    };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

fn runtime_error(error: cri::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.message)
}

fn upstream_error(error: UpstreamError) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

pub(super) async fn exec(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    pods: &Pods,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let wanted = wanted(query)?;
    let cmd = query.all("command");
    if cmd.is_empty() {
        return Err(Refusal::bad_request("you must specify the command"));
    }
    let ask = v1::ExecRequest {
        container_id: running(pods, target)?,
        cmd,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let url = shared.runtime.exec_url(ask).await.map_err(runtime_error)?;
    remote_command(request, url, wanted).await
}

pub(super) async fn attach(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    pods: &Pods,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let mut wanted = wanted(query)?;
    // The container decides whether there is a terminal, not who attaches.
    let pod = view(pods, target)?.pod;
    wanted.tty = executor_core::spec::container(&pod, &target.container).is_some_and(|c| c.tty == Some(true));
    let ask = v1::AttachRequest {
        container_id: running(pods, target)?,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let url = shared.runtime.attach_url(ask).await.map_err(runtime_error)?;
    remote_command(request, url, wanted).await
}

async fn remote_command(
    request: Request<Incoming>,
    url: String,
    wanted: Wanted,
) -> Result<Response<Body>, Refusal> {
    if is_spdy(&request) {
        return join(request, &url).await;
    }
    if !websocket::is_asked_for(request.headers()) {
        return Err(Refusal::bad_request("unable to upgrade: missing upgrade headers in request"));
    }
    let Some(protocol) = websocket::choose(request.headers(), &REMOTE_COMMAND) else {
        return Err(Refusal::bad_request(format!(
            "unable to upgrade: this door speaks {}",
            REMOTE_COMMAND.join(", ")
        )));
    };
    let session = Session::open(&url, wanted).await.map_err(upstream_error)?;
    let answer = websocket::accept(request.headers(), protocol);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            session.carry(websocket::open(upgraded).await).await;
        }
    });
    Ok(answer)
}

pub(super) async fn port_forward(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    pods: &Pods,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let sandbox = view(pods, target)?.sandbox;
    let sandbox =
        sandbox.ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the pod has no sandbox"))?;
    let url = shared.runtime.port_forward_url(&sandbox.id).await.map_err(runtime_error)?;
    if is_spdy(&request) {
        return join(request, &url).await;
    }
    let tunnelled = websocket::is_asked_for(request.headers())
        && websocket::choose(request.headers(), &[PORT_FORWARD_TUNNEL]).is_some();
    if !tunnelled {
        let message = format!(
            "unable to upgrade: this door speaks SPDY/3.1 and, in a WebSocket, {PORT_FORWARD_TUNNEL}"
        );
        return Err(Refusal::bad_request(message));
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

/// A client that speaks what the runtime speaks: from the upgrade on, bytes.
async fn join(request: Request<Incoming>, url: &str) -> Result<Response<Body>, Refusal> {
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
            bridge::join(upgraded, upstream).await;
        }
    });
    Ok(answer)
}
