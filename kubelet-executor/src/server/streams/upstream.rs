//! Connections to the runtime's streaming server.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use transport::client::{Client, ClientOptions};

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
    if !url.starts_with("http://") {
        return Err(bad());
    }
    let failed = |error: String| UpstreamError::Connect(error);
    let mut request =
        Request::post(url).header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "SPDY/3.1");
    for protocol in protocols {
        request = request.header(STREAM_PROTOCOL, protocol);
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|_| bad())?;
    let response = Client::new(ClientOptions::default()).send(request).await;
    let response = response.map_err(|error| failed(error.to_string()))?;
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
