//! Calls to a node's executor: one connection per call, TLS with the API server's client certificate, and the same
//! bytes both ways once it is upgraded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use shim_model::status::{self, Status};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::auth::authentication::WEBSOCKET_TOKEN;
use crate::http::body::{BoxError, Request, Response, empty, stream};
use crate::http::reply;
use crate::node_endpoints::NodeEndpoints;

/// How long connecting and shaking hands may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a node may take to begin its answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Most bytes of a node's refusal that are passed on.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// The TLS configuration with which nodes are called; none if the API server runs without nodes.
pub type NodeClient = Option<Arc<rustls::ClientConfig>>;

/// Gets something from a node and passes it on as it comes.
pub async fn fetch(
    client: &NodeClient,
    nodes: &NodeEndpoints,
    node: &str,
    uri: &str,
) -> Result<Response, Status> {
    let mut connection = connect(client, nodes, node).await?;
    let request = http::Request::get(uri)
        .header(HOST, node_host(node))
        .body(Empty::<Bytes>::new())
        .map_err(status::internal)?;
    let answer = send(&mut connection, request, node).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let media_type = answer.headers().get(CONTENT_TYPE).cloned();
    // The sender must outlive the body, or hyper would close the connection under it.
    let body = answer.into_body().into_data_stream().map_err(|e| Box::new(e) as BoxError);
    let body = futures::StreamExt::map(body, move |part| {
        let _ = &connection;
        part
    });
    let mut response = reply::text(200, "");
    *response.body_mut() = stream(body);
    if let Some(media_type) = media_type {
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    Ok(response)
}

/// Passes an upgrade on to a node, and the connections' bytes between the two.
pub async fn upgrade(
    client: &NodeClient,
    nodes: &NodeEndpoints,
    node: &str,
    uri: &str,
    mut request: Request,
) -> Result<Response, Status> {
    if !request.headers().contains_key(UPGRADE) {
        return Err(status::bad_request("Upgrade request required"));
    }
    let mut connection = connect(client, nodes, node).await?;
    let mut onward = http::Request::builder().method(request.method().clone()).uri(uri);
    if let Some(headers) = onward.headers_mut() {
        copy_headers(request.headers(), headers);
        headers.insert(HOST, node_host(node));
    }
    let onward = onward.body(Empty::<Bytes>::new()).map_err(status::internal)?;
    let mut answer = send(&mut connection, onward, node).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let ours = hyper::upgrade::on(&mut request);
    let theirs = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        // Either side's end is the end; what went wrong on the way, both sides have noticed.
        if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
            tracing::debug!(%error, "stream to a node ended");
        }
    });
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(answer.headers(), response.headers_mut());
    Ok(response)
}

fn node_host(node: &str) -> HeaderValue {
    HeaderValue::from_str(node).unwrap_or_else(|_| HeaderValue::from_static("node"))
}

/// Headers of an upgrade: the handshake's own, nothing that speaks of the client.
fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let handshake = name == CONNECTION
            || name == UPGRADE
            || name.as_str().starts_with("sec-websocket-")
            || name.as_str().starts_with("x-stream-protocol-version")
            || name.as_str().starts_with("x-accept-stream-protocol-version");
        if !handshake {
            continue;
        }
        match value.to_str() {
            // A token among the sub-protocols is for us alone.
            Ok(text) if name == SEC_WEBSOCKET_PROTOCOL => {
                let rest = text.split(',').map(str::trim).filter(|p| !p.starts_with(WEBSOCKET_TOKEN));
                if let Ok(rest) = HeaderValue::from_str(&rest.collect::<Vec<_>>().join(", ")) {
                    to.append(name.clone(), rest);
                }
            }
            _ => {
                to.append(name.clone(), value.clone());
            }
        }
    }
}

async fn connect(
    client: &NodeClient,
    nodes: &NodeEndpoints,
    node: &str,
) -> Result<http1::SendRequest<Empty<Bytes>>, Status> {
    let unreachable = |why: &dyn std::fmt::Display| {
        status::service_unavailable(format!("node {node} cannot be reached: {why}"))
    };
    let Some(config) = client else { return Err(unreachable(&"this server has no way to nodes")) };
    let Some(endpoint) = nodes.get(node) else {
        return Err(unreachable(&"its executor has not reported an address"));
    };
    let address: std::net::SocketAddr = endpoint.parse().map_err(|e| unreachable(&e))?;
    let connecting = async {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        TlsConnector::from(config.clone()).connect(name, tcp).await
    };
    let tls = match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(_) => return Err(unreachable(&"it did not answer in time")),
    };
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(|e| unreachable(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a node ended");
        }
    });
    Ok(sender)
}

async fn send(
    connection: &mut http1::SendRequest<Empty<Bytes>>,
    request: http::Request<Empty<Bytes>>,
    node: &str,
) -> Result<http::Response<Incoming>, Status> {
    match tokio::time::timeout(ANSWER_MAX, connection.send_request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(status::service_unavailable(format!("node {node} broke off: {error}"))),
        Err(_) => Err(status::timeout(format!("node {node} did not answer in time"), 0)),
    }
}

/// A node's refusal as a Status: its own if it sent one, else its text.
async fn refusal(answer: http::Response<Incoming>) -> Status {
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let bytes = body.map(|b| b.to_bytes()).unwrap_or_default();
    let text = match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(value) if value["kind"] == "Status" => value["message"].as_str().unwrap_or("").to_owned(),
        _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    let reason = match code {
        400 => "BadRequest",
        403 => "Forbidden",
        404 => "NotFound",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let code = if (400..600).contains(&code) { code } else { 500 };
    Status::failure(code, reason, text)
}
