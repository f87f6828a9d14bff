//! Connects an agent to a master on another machine: TLS with the node's certificate, then an HTTP/1.1 upgrade.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use transport::client::{Client, ClientOptions, TlsSource};

use super::{AgentLink, Dialer, LINK_PATH, LINK_PROTOCOL, LinkError, frames};

/// The deadline of an attempt.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sent bytes may stay unacknowledged; the master's pings notice the rest.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Most bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Dials a master over TLS.
#[derive(Clone)]
pub struct TlsDialer {
    /// `host:port` of the master's Mesos port.
    pub master: String,
    /// Trusts the cluster's CA and presents the node's certificate. Read for each link: certificates are renewed.
    pub tls: TlsSource,
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
        let request = post(&self.master, LINK_PATH)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, LINK_PROTOCOL)
            .body(Full::new(Bytes::new()))
            .map_err(unreachable)?;
        let response = client(self.tls.clone()).send(request).await.map_err(unreachable)?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            return Err(refused(status, body_text(response).await?));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(unreachable)?;
        Ok(frames::attach(TokioIo::new(upgraded)))
    }
}

/// A client for one request to a master: an agent opens a link and keeps it.
fn client(tls: TlsSource) -> Client {
    Client::new(ClientOptions {
        tls: Some(tls),
        connect_timeout: DIAL_TIMEOUT,
        response_timeout: DIAL_TIMEOUT,
        unacknowledged_max: Some(UNACKNOWLEDGED_MAX),
        ..ClientOptions::default()
    })
}

/// A POST to a path of the master at `host:port`.
fn post(master: &str, path: &str) -> http::request::Builder {
    Request::post(format!("https://{master}{path}"))
}

/// Posts JSON to a path of the master, and returns the JSON of its answer.
pub(super) async fn post_json(
    master: &str,
    tls: &Arc<rustls::ClientConfig>,
    path: &str,
    body: &Value,
) -> Result<Value, LinkError> {
    let request = post(master, path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(unreachable)?;
    let tls = tls.clone();
    let response = client(Arc::new(move || Ok(tls.clone()))).send(request).await.map_err(unreachable)?;
    let status = response.status();
    let text = body_text(response).await?;
    if status != http::StatusCode::OK {
        return Err(refused(status.as_u16(), text));
    }
    serde_json::from_str(&text).map_err(unreachable)
}

/// A refusal of whoever answered: API servers answer every path with an object of kind `Status`.
fn refused(status: u16, text: String) -> LinkError {
    let object: Value = serde_json::from_str(&text).unwrap_or_default();
    match (object["kind"].as_str(), object["apiVersion"].as_str()) {
        (Some("Status"), Some("v1")) => LinkError::KubernetesApi,
        _ => LinkError::Refused { status, text },
    }
}

pub(super) async fn body_text(response: Response<Incoming>) -> Result<String, LinkError> {
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await.map_err(unreachable)?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

pub(super) fn unreachable(error: impl ToString) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_at_the_masters_address_is_recognized() {
        let status =
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}"#;
        assert!(matches!(refused(403, status.to_owned()), LinkError::KubernetesApi));
        for other in ["no", "{}", r#"{"kind":"Status"}"#, "[]"] {
            let error = refused(401, other.to_owned());
            assert!(matches!(error, LinkError::Refused { status: 401, .. }), "{error}");
        }
    }
}
