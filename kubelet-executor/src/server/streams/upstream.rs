//! Connections to the runtime's streaming server.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The header with subprotocols.
pub(crate) const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("malformed streaming URL from the runtime: {0}")]
    Url(String),
    #[error("cannot connect to the runtime's streaming server: {0}")]
    Connect(String),
    #[error("the runtime's streaming server refused: {0}")]
    Refused(String),
}

/// An upgraded connection and the negotiated subprotocol.
pub(crate) struct Upstream {
    pub stream: TokioIo<Upgraded>,
    pub protocol: Option<HeaderValue>,
}

/// Upgrades to SPDY/3.1 and offers subprotocols.
pub(crate) async fn connect(url: &str, protocols: &[HeaderValue]) -> Result<Upstream, UpstreamError> {
    let bad = || UpstreamError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (authority, path) = rest.find('/').map(|slash| rest.split_at(slash)).ok_or_else(bad)?;
    let failed = |error: String| UpstreamError::Connect(error);
    let stream = TcpStream::connect(authority).await.map_err(|e| failed(e.to_string()))?;
    let _ = stream.set_nodelay(true);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| failed(e.to_string()))?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    let mut request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1");
    for protocol in protocols {
        request = request.header(STREAM_PROTOCOL, protocol);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), 4096).collect().await;
        let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        return Err(UpstreamError::Refused(format!("{status}: {text}")));
    }
    let protocol = response.headers().get(STREAM_PROTOCOL).cloned();
    let upgraded = hyper::upgrade::on(response).await.map_err(|e| failed(e.to_string()))?;
    Ok(Upstream { stream: TokioIo::new(upgraded), protocol })
}
