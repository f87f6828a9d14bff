//! Opens links to a master on another machine: TCP, TLS with the node's certificate, HTTP/1.1 upgrade.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Incoming, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{AgentLink, Dialer, LINK_PATH, LINK_PROTOCOL, LinkError, frames};

/// The deadline of an attempt.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP_USER_TIMEOUT; a silent master is noticed by its missing pings.
const UNACKNOWLEDGED_MAX_MS: u32 = 60_000;

/// Most bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Dials a master over TLS.
#[derive(Clone)]
pub struct TlsDialer {
    /// `host:port` of the master's Mesos port.
    pub master: String,
    /// Trusts the cluster's CA and presents the node's certificate.
    pub tls: Arc<rustls::ClientConfig>,
}

#[async_trait]
impl Dialer for TlsDialer {
    async fn dial(&self) -> Result<AgentLink, LinkError> {
        tokio::time::timeout(DIAL_TIMEOUT, self.open())
            .await
            .map_err(|_| LinkError::Unreachable(format!("{} does not answer", self.master)))?
    }
}

impl TlsDialer {
    async fn open(&self) -> Result<AgentLink, LinkError> {
        let mut sender = connect(&self.master, &self.tls).await?;
        let request = Request::post(LINK_PATH)
            .header(header::HOST, &self.master)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, LINK_PROTOCOL)
            .body(Full::new(Bytes::new()))
            .map_err(unreachable)?;
        let response = sender.send_request(request).await.map_err(unreachable)?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            let text = body_text(response).await?;
            return Err(LinkError::Refused { status, text });
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(unreachable)?;
        Ok(frames::attach(TokioIo::new(upgraded)))
    }
}

/// Opens a TLS connection for HTTP/1.1.
pub(super) async fn connect(
    master: &str,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<SendRequest<Full<Bytes>>, LinkError> {
    let tcp = TcpStream::connect(master).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    rustix::net::sockopt::set_tcp_user_timeout(&tcp, UNACKNOWLEDGED_MAX_MS).map_err(unreachable)?;
    let host = master.rsplit_once(':').map_or(master, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(unreachable)?;
    let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await.map_err(unreachable)?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the master ended");
        }
    });
    Ok(sender)
}

/// Posts JSON to a path of the master, and returns the JSON of its answer.
pub(super) async fn post_json(
    master: &str,
    tls: &Arc<rustls::ClientConfig>,
    path: &str,
    body: &Value,
) -> Result<Value, LinkError> {
    let mut sender = connect(master, tls).await?;
    let request = Request::post(path)
        .header(header::HOST, master)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(unreachable)?;
    let response = sender.send_request(request).await.map_err(unreachable)?;
    let status = response.status();
    let text = body_text(response).await?;
    if status != http::StatusCode::OK {
        return Err(LinkError::Refused { status: status.as_u16(), text });
    }
    serde_json::from_str(&text).map_err(unreachable)
}

pub(super) async fn body_text(response: Response<Incoming>) -> Result<String, LinkError> {
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await.map_err(unreachable)?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

pub(super) fn unreachable(error: impl ToString) -> LinkError {
    LinkError::Unreachable(error.to_string())
}
