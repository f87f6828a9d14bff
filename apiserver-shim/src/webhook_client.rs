//! The client of webhooks: posts JSON to the URL or Service of a `clientConfig` and reads the JSON of the answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use shim_model::access;
use transport::client::{Client, ClientError};
use transport::redirect;

use crate::service_client::{ServerRef, ServiceClients, service_authority};

/// Size of an answer: as many objects as a request may have, converted.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Redirects that are followed, as by Go's client.
const REDIRECTS_MAX: usize = 10;
/// How often a request is repeated because its answer says so, as by client-go.
const RETRIES_MAX: usize = 10;

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
        let body = Bytes::from(body.to_string());
        let late = || failed(&url, "context deadline exceeded".to_owned());
        let answer =
            tokio::time::timeout(timeout, repeat(&client, &url, &body)).await.map_err(|_| late())??;
        // As client-go.
        if !(200..=206).contains(&answer.status.as_u16()) {
            let message = answer.refusal();
            return Err(WebhookError::Refused { code: answer.status.as_u16(), message });
        }
        serde_json::from_slice(&answer.body).map_err(|error| WebhookError::Answer(error.to_string()))
    }
}

fn failed(url: &str, reason: String) -> WebhookError {
    WebhookError::Request { url: url.to_owned(), reason }
}

/// Bytes of an answer without a Status that are shown (client-go's `maxUnstructuredResponseTextBytes`).
const SHOWN_BYTES_MAX: usize = 2048;

/// The answer to a request.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn refusal(&self) -> String {
        let kind = self.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
        let is_text = kind.is_none_or(|kind| kind.to_ascii_lowercase().starts_with(b"text/"));
        refusal(self.status, &self.body, is_text)
    }

    /// How long to wait before the request is repeated, if the answer asks for that.
    fn retry_after(&self) -> Option<Duration> {
        let asks = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        let seconds = self.headers.get(RETRY_AFTER).filter(|_| asks)?.to_str().ok()?;
        Some(Duration::from_secs(seconds.parse().ok()?))
    }
}

/// Posts, and repeats that as long as the answers ask for it.
async fn repeat(client: &Client, url: &str, body: &Bytes) -> Result<Answer, WebhookError> {
    let mut answer = follow(client, url, body).await?;
    for _ in 0..RETRIES_MAX {
        let Some(wait) = answer.retry_after() else { break };
        tokio::time::sleep(wait).await;
        answer = follow(client, url, body).await?;
    }
    Ok(answer)
}

/// Posts, and follows redirects as Go's client: 301, 302 and 303 lead to a GET, 307 and 308 to the same request.
async fn follow(client: &Client, url: &str, body: &Bytes) -> Result<Answer, WebhookError> {
    let mut uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| failed(url, error.to_string()))?;
    let mut post = true;
    for _ in 0..=REDIRECTS_MAX {
        let failed = |reason: String| failed(&uri.to_string(), reason);
        let request = request(&uri, post.then_some(body)).map_err(|error| failed(error.to_string()))?;
        let answer = client.send(request).await.map_err(|error| failed(reason(&error)))?;
        let (head, stream) = answer.into_parts();
        let target =
            head.headers.get(LOCATION).filter(|_| matches!(head.status.as_u16(), 301..=303 | 307 | 308));
        let Some(target) = target else {
            let body = Limited::new(stream, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
            return Ok(Answer { status: head.status, headers: head.headers, body });
        };
        let target = String::from_utf8_lossy(target.as_bytes());
        post &= matches!(head.status.as_u16(), 307 | 308);
        let next = redirect::resolve(&uri, &target);
        uri =
            next.ok_or_else(|| failed(format!("failed to parse Location header {}", Value::from(&*target))))?;
    }
    Err(failed(&uri.to_string(), format!("stopped after {REDIRECTS_MAX} redirects")))
}

fn request(uri: &Uri, body: Option<&Bytes>) -> Result<Request<Full<Bytes>>, http::Error> {
    let request = Request::builder().uri(uri).header(ACCEPT, "application/json, */*");
    match body {
        Some(body) => {
            let request = request.method(Method::POST).header(CONTENT_TYPE, "application/json");
            request.body(Full::new(body.clone()))
        }
        None => request.body(Full::default()),
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

/// What an answer says that is no success: the message of a Status, or client-go's words for the code.
fn refusal(status: StatusCode, body: &[u8], is_text: bool) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().map(|status| access::text(status, &["message"])).unwrap_or("");
    if !said.is_empty() {
        return said.to_owned();
    }
    // What is no text, such as the objects of a review, is not for the user.
    let shown = if is_text { &body[..body.len().min(SHOWN_BYTES_MAX)] } else { &[] };
    let text = String::from_utf8_lossy(shown);
    let text = if text.trim().is_empty() { "unknown" } else { text.trim() };
    let words = match status.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 | 415 => text,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 if text == "unknown" => {
            "the server was unable to respond with a content type that the client supports"
        }
        406 => text,
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => {
            let text = Value::from(text);
            return format!("an error on the server ({text}) has prevented the request from succeeding");
        }
        code => {
            return format!(
                "the server responded with the status code {code} but did not return more information"
            );
        }
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_and_messages_are_shown() {
        let error = StatusCode::INTERNAL_SERVER_ERROR;
        let table = [
            refusal(error, br#"{"kind":"Status","message":"no"}"#, false),
            refusal(error, br#"{"kind":"ConversionReview","request":{"objects":[{"secret":1}]}}"#, false),
            refusal(error, b" it broke\n", true),
            refusal(error, b"", true),
            refusal(StatusCode::FORBIDDEN, b"<html>", false),
        ];
        let shown = |text: &str| {
            format!("an error on the server (\"{text}\") has prevented the request from succeeding")
        };
        assert_eq!(
            table,
            ["no".to_owned(), shown("unknown"), shown("it broke"), shown("unknown"), "unknown".to_owned()]
        );
        let long = refusal(error, &[b'x'; 10_000], true);
        assert_eq!(long, shown(&"x".repeat(SHOWN_BYTES_MAX)));
    }
}
