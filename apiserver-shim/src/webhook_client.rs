//! The client of webhooks: posts JSON to the URL or Service of a `clientConfig` and reads the JSON of the answer.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use shim_model::access;
use transport::client::ClientError;

use crate::service_client::{ServerRef, ServiceClients, service_authority};

/// Size of an answer: as many objects as a request may have, converted.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The configuration has neither a URL nor a Service.
    #[error("the webhook's configuration has no address")]
    NoAddress,
    /// The certificates of the configuration cannot be used.
    #[error("unable to load root certificates: {0}")]
    Certificates(String),
    /// The request failed.
    #[error("Post \"{url}\": {reason}")]
    Request {
        /// The URL.
        url: String,
        /// What failed.
        reason: String,
    },
    /// The answer has another status than 200.
    #[error("{message}")]
    Refused {
        /// The status.
        code: u16,
        /// What the answer says.
        message: String,
    },
    /// The answer is no JSON.
    #[error("the answer of the webhook cannot be read: {0}")]
    Answer(String),
}

impl WebhookError {
    /// The status code of the answer; 503 if there is none.
    pub fn code(&self) -> u16 {
        match self {
            WebhookError::Refused { code, .. } => *code,
            _ => 503,
        }
    }
}

/// A client for one `clientConfig`. Clients of the same server share connections.
pub struct WebhookClient {
    clients: ServiceClients,
    server: ServerRef,
    /// The URL without a query; empty if the configuration has none.
    url: String,
}

impl WebhookClient {
    /// A client for a `clientConfig`.
    pub fn new(config: &Value, clients: ServiceClients) -> WebhookClient {
        let bundle = shim_model::base64::decode(access::text(config, &["caBundle"])).unwrap_or_default();
        let ca_bundle = String::from_utf8_lossy(&bundle).trim().to_owned();
        let (service, url) = match config.get("service").filter(|service| service.is_object()) {
            None => (None, with_path(access::text(config, &["url"]))),
            Some(service) => {
                let text = |member: &str| access::text(service, &[member]);
                let (namespace, name) = (text("namespace"), text("name"));
                let port = access::int(service, &["port"]).and_then(|port| u16::try_from(port).ok());
                let authority = service_authority(namespace, name, port.unwrap_or(443));
                let url = format!("https://{authority}/{}", text("path").trim_start_matches('/'));
                (Some((namespace.to_owned(), name.to_owned())), url)
            }
        };
        let server = ServerRef {
            service,
            ca_bundle,
            insecure: false,
            identity: None,
            http1: true,
            // A request has its own limit.
            response_timeout: Duration::MAX,
        };
        WebhookClient { clients, server, url }
    }

    /// Posts JSON and waits for the JSON of the answer, both within `timeout`.
    pub async fn post(&self, body: &Value, timeout: Duration) -> Result<Value, WebhookError> {
        if self.url.is_empty() {
            return Err(WebhookError::NoAddress);
        }
        // As upstream's client, the time limit is in the query, rounded up to seconds.
        let url = format!("{}?timeout={:.0}s", self.url, timeout.as_secs_f64().ceil());
        let client = self.clients.client(&self.server);
        let client = client.map_err(|error| WebhookError::Certificates(error.to_string()))?;
        let failed = |reason: String| WebhookError::Request { url: url.clone(), reason };
        let request = http::Request::post(&url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| failed(error.to_string()))?;
        let exchange = async {
            let answer = client.send(request).await.map_err(|error| failed(reason(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let late = || failed("context deadline exceeded".to_owned());
        let (status, body) = tokio::time::timeout(timeout, exchange).await.map_err(|_| late())??;
        // As client-go.
        if !(200..=206).contains(&status.as_u16()) {
            return Err(WebhookError::Refused { code: status.as_u16(), message: refusal(status, &body) });
        }
        serde_json::from_slice(&body).map_err(|error| WebhookError::Answer(error.to_string()))
    }
}

/// A URL with a path: a URL without one is that of the root.
fn with_path(url: &str) -> String {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    if authority.is_empty() || authority.contains('/') { url.to_owned() } else { format!("{url}/") }
}

fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Exchange { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

/// What an answer says that is no success: the message of a Status, or the words of its code.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body).ok();
    let message = message.as_ref().map(|status| access::text(status, &["message"])).unwrap_or("");
    match (message.is_empty(), status) {
        (false, _) => message.to_owned(),
        (true, StatusCode::NOT_FOUND) => "the server could not find the requested resource".to_owned(),
        (true, StatusCode::INTERNAL_SERVER_ERROR) => {
            let text = String::from_utf8_lossy(body);
            let why = if text.trim().is_empty() {
                "unknown".to_owned()
            } else {
                Value::from(text.trim()).to_string()
            };
            format!("an error on the server ({why}) has prevented the request from succeeding")
        }
        (true, code) => format!("the server responded with the status code {}", code.as_u16()),
    }
}
