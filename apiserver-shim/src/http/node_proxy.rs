//! Calls a node's executor over TLS with the API server's client certificate. Upgraded connections are copied in both
//! directions.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use shim_model::status::{self, Status};
use transport::client::{Client, ClientError, ClientOptions};
use transport::relay::relay;

use crate::auth::authentication::WEBSOCKET_TOKEN;
use crate::http::body::{BoxError, Request, Response, empty, stream};
use crate::http::connection_guards::ConnectionGuards;
use crate::http::reply;
use crate::node_endpoints::NodeEndpoints;

/// Maximum size of an executor's error response that is passed on.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// The client for executors; `None` if the API server runs without nodes.
pub type NodeClient = Option<Client>;

/// A client that authenticates with the API server's certificate. Connections are pooled per node.
pub fn node_client(tls: Arc<rustls::ClientConfig>) -> NodeClient {
    Some(Client::new(ClientOptions::with_tls(tls)))
}

/// Sends a GET to a node and streams the response.
pub async fn fetch(
    client: &NodeClient,
    nodes: &NodeEndpoints,
    node: &str,
    uri: &str,
) -> Result<Response, Status> {
    let request = http::Request::get(node_uri(nodes, node, uri)?)
        .header(HOST, node_host(node))
        .body(Full::<Bytes>::default())
        .map_err(status::internal)?;
    let answer = send(client, request, node).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let media_type = answer.headers().get(CONTENT_TYPE).cloned();
    let body = answer.into_body().into_data_stream().map_err(|e| Box::new(e) as BoxError);
    let mut response = reply::text(200, "");
    *response.body_mut() = stream(body);
    if let Some(media_type) = media_type {
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    Ok(response)
}

/// Forwards an upgrade request to a node and copies between the two connections.
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
    let uri = node_uri(nodes, node, uri)?;
    let mut onward = http::Request::builder().method(request.method().clone()).uri(uri);
    if let Some(headers) = onward.headers_mut() {
        copy_headers(request.headers(), headers);
        headers.insert(HOST, node_host(node));
    }
    let onward = onward.body(Full::<Bytes>::default()).map_err(status::internal)?;
    let mut answer = send(client, onward, node).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let ours = hyper::upgrade::on(&mut request);
    let theirs = hyper::upgrade::on(&mut answer);
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(answer.headers(), response.headers_mut());
    let guards = ConnectionGuards::of_upgrade(&mut response);
    tokio::spawn(async move {
        let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
        relay(TokioIo::new(ours), TokioIo::new(theirs)).await;
        // The request ends with the connection.
        drop(guards);
    });
    Ok(response)
}

fn node_host(node: &str) -> HeaderValue {
    HeaderValue::from_str(node).unwrap_or_else(|_| HeaderValue::from_static("node"))
}

/// Copies the headers of the handshake, but none that identify the client.
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
        if let Some(value) = without_token(name, value) {
            to.append(name.clone(), value);
        }
    }
}

/// A header's value without the bearer token among the sub-protocols of a WebSocket, which is meant for the API server
/// only.
pub fn without_token(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    match value.to_str() {
        Ok(text) if name == SEC_WEBSOCKET_PROTOCOL => {
            let rest = text.split(',').map(str::trim).filter(|p| !p.starts_with(WEBSOCKET_TOKEN));
            HeaderValue::from_str(&rest.collect::<Vec<_>>().join(", ")).ok()
        }
        _ => Some(value.clone()),
    }
}

/// The request's URI on a node; the executor has reported the address.
fn node_uri(nodes: &NodeEndpoints, node: &str, path: &str) -> Result<String, Status> {
    match nodes.get(node) {
        Some(endpoint) => Ok(format!("https://{endpoint}{path}")),
        None => Err(unreachable(node, &"its executor has not reported an address")),
    }
}

async fn send(
    client: &NodeClient,
    request: http::Request<Full<Bytes>>,
    node: &str,
) -> Result<http::Response<Incoming>, Status> {
    let Some(client) = client else { return Err(unreachable(node, &"this server has no client for nodes")) };
    client.send(request).await.map_err(|error| match error {
        ClientError::Connect(error) => unreachable(node, &error),
        ClientError::Exchange { .. } => {
            status::service_unavailable(format!("node {node} closed the connection: {error}"))
        }
        ClientError::ResponseTimeout { .. } => {
            status::timeout(format!("node {node} did not answer in time"), 0)
        }
    })
}

fn unreachable(node: &str, reason: &dyn std::fmt::Display) -> Status {
    status::service_unavailable(format!("node {node} cannot be reached: {reason}"))
}

/// Converts an error response of a node into a Status: its own if it sent one, else its text.
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
