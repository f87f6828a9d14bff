//! HTTP requests to a master or an agent: one POST of a protobuf body, with credentials, and what its answer means for the
//! driver.

use std::{sync::Arc, time::Duration};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use libmesos_core::{
    machine::{CallOutcome, CloseReason},
    master::Endpoint,
};
use transport::{
    client::{Client, ClientError, ClientOptions},
    redirect,
    tls::{self, TlsError, Trust},
};

/// The media type of protobuf, for requests and responses.
const PROTOBUF: &str = "application/x-protobuf";
const SCHEDULER_PATH: &str = "/api/v1/scheduler";
const STREAM_ID: &str = "Mesos-Stream-Id";

/// How long a master may take to begin its answer: a loaded one with a large cluster takes seconds.
const RESPONSE_MAX: Duration = Duration::from_secs(30);
/// What is read of an error's text.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long an error's text, or the empty body of 202, may take.
const ERROR_TEXT_MAX: Duration = Duration::from_secs(5);

/// The certificate authority of masters with `https://`, as in Mesos; without it, those of this machine.
const AUTHORITY_VARIABLE: &str = "LIBPROCESS_SSL_CA_FILE";

/// A principal with its secret.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) principal: String,
    pub(crate) secret: String,
}

/// An API of a server and who uses it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// What the server is called in messages.
    server: &'static str,
    path: Arc<str>,
    authorization: Option<HeaderValue>,
}

impl Api {
    /// The scheduler API of a master.
    pub(crate) fn scheduler(credential: Option<&Credential>) -> Self {
        let authorization = credential.and_then(basic);
        Api { server: "Master", path: SCHEDULER_PATH.into(), authorization }
    }

    /// The executor API of an agent.
    pub(crate) fn executor(path: &str, token: Option<&str>) -> Self {
        let authorization = token.and_then(bearer);
        Api { server: "Agent", path: path.into(), authorization }
    }
}

/// Posts to a server. Clones share connections.
#[derive(Clone)]
pub(crate) struct EndpointClient {
    client: Client,
    api: Api,
}

/// An answer that is neither 200 nor 202.
pub(crate) struct Failure {
    server: &'static str,
    status: StatusCode,
    /// Where a redirect leads.
    location: Option<Endpoint>,
    text: String,
}

impl EndpointClient {
    pub(crate) fn new(api: Api) -> Self {
        let options = ClientOptions {
            tls: Some(Arc::new(tls_config)),
            response_timeout: RESPONSE_MAX,
            ..ClientOptions::default()
        };
        EndpointClient { client: Client::new(options), api }
    }

    /// Posts a call and waits for the head of the answer.
    pub(crate) async fn post(
        &self,
        to: &Endpoint,
        stream_id: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let unsendable = |error: http::Error| ClientError::Exchange {
            authority: to.to_string(),
            reason: error.to_string(),
        };
        let mut request = Request::post(format!("{to}{}", self.api.path))
            .header(header::CONTENT_TYPE, PROTOBUF)
            .header(header::ACCEPT, PROTOBUF);
        if let Some(authorization) = &self.api.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(stream_id) = stream_id.filter(|id| !id.is_empty()) {
            request = request.header(STREAM_ID, stream_id);
        }
        self.client.send(request.body(Full::new(body)).map_err(unsendable)?).await
    }

    /// Sends a call and says how it was answered.
    pub(crate) async fn call(&self, to: &Endpoint, stream_id: &str, body: Bytes) -> CallOutcome {
        let response = match self.post(to, Some(stream_id), body).await {
            Ok(response) => response,
            Err(error) => return CallOutcome::Lost(error.to_string()),
        };
        if response.status().is_success() {
            // Reading the empty body frees the connection for the next call.
            let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect();
            let _ = tokio::time::timeout(ERROR_TEXT_MAX, body).await;
            return CallOutcome::Accepted;
        }
        self.failure(to, response).await.outcome()
    }

    /// Reads an answer that is neither 200 nor 202, within bounds.
    pub(crate) async fn failure(&self, from: &Endpoint, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| redirected(from, location));
        let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect();
        let text = match tokio::time::timeout(ERROR_TEXT_MAX, body).await {
            Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
            _ => String::new(),
        };
        Failure { server: self.api.server, status, location, text }
    }
}

/// The id of a stream that is being opened.
pub(crate) fn stream_id(response: &Response<Incoming>) -> String {
    let id = response.headers().get(STREAM_ID).and_then(|id| id.to_str().ok());
    id.unwrap_or_default().to_owned()
}

impl Failure {
    fn describe(&self) -> String {
        match self.text.as_str() {
            "" => self.status.to_string(),
            text => format!("{}: {text}", self.status),
        }
    }

    /// What the answer to SUBSCRIBE means.
    pub(crate) fn close_reason(self, from: &Endpoint) -> CloseReason {
        if self.status.is_redirection()
            && let Some(location) = self.location
        {
            return CloseReason::Redirected(location);
        }
        match self.status.as_u16() {
            400 | 401 | 403 | 405 | 406 | 415 => CloseReason::Refused(format!(
                "{} at {from} refused the subscription: {}",
                self.server,
                self.describe()
            )),
            _ => CloseReason::Lost(format!("{from} answered {}", self.describe())),
        }
    }

    /// What the answer to a call means. 403 is that of a stream that is not the framework's any more.
    fn outcome(self) -> CallOutcome {
        match self.status.as_u16() {
            401 | 403 | 408 | 429 => CallOutcome::Lost(self.describe()),
            400..500 => CallOutcome::Rejected(self.describe()),
            _ => CallOutcome::Lost(self.describe()),
        }
    }
}

fn redirected(from: &Endpoint, location: &str) -> Option<Endpoint> {
    let from: Uri = format!("{from}{SCHEDULER_PATH}").parse().ok()?;
    let to = redirect::resolve(&from, location)?;
    let tls = to.scheme_str() == Some("https");
    let port = to.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let host = to.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Endpoint { tls, host, port })
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn basic(credential: &Credential) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credential.principal, credential.secret);
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn tls_config() -> Result<Arc<rustls::ClientConfig>, TlsError> {
    match std::env::var_os(AUTHORITY_VARIABLE) {
        Some(path) => {
            let pem = tls::read_pem(path.as_ref())?;
            tls::client_config_trusting(Trust::Bundle(&pem), None, tls::ALPN_HTTP1)
        }
        None => tls::client_config_trusting(Trust::Machine, None, tls::ALPN_HTTP1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, location: Option<&str>) -> Failure {
        let from = libmesos_core::master::endpoint("m:5050").unwrap();
        Failure {
            server: "Master",
            status: StatusCode::from_u16(status).unwrap(),
            location: location.and_then(|location| redirected(&from, location)),
            text: "why".to_owned(),
        }
    }

    #[test]
    fn answers_to_subscribe() {
        let from = libmesos_core::master::endpoint("m:5050").unwrap();
        let endpoint = |text| libmesos_core::master::endpoint(text).unwrap();
        let reason = |status, location| failure(status, location).close_reason(&from);
        let redirected = CloseReason::Redirected(endpoint("n:6000"));
        assert_eq!(reason(307, Some("//n:6000/api/v1/scheduler")), redirected);
        assert_eq!(reason(307, Some("http://n:6000/x")), redirected);
        assert_eq!(reason(307, Some("//[::1]:1/x")), CloseReason::Redirected(endpoint("[::1]:1")));
        for (status, location) in [(307, None), (307, Some("ftp://n")), (503, None), (500, None), (404, None)]
        {
            assert!(matches!(reason(status, location), CloseReason::Lost(_)), "{status} {location:?}");
        }
        for status in [400, 401, 403, 405, 406, 415] {
            let CloseReason::Refused(text) = reason(status, None) else { panic!("{status}") };
            assert!(text.starts_with("Master at http://m:5050 refused") && text.ends_with(": why"), "{text}");
        }
    }

    #[test]
    fn answers_to_calls() {
        for (status, rejected) in
            [(400, true), (413, true), (401, false), (403, false), (307, false), (500, false), (503, false)]
        {
            let outcome = failure(status, None).outcome();
            assert_eq!(matches!(outcome, CallOutcome::Rejected(_)), rejected, "{status}");
        }
    }

    #[test]
    fn credentials_are_sent_as_http_basic() {
        let credential = Credential { principal: "Aladdin".into(), secret: "open sesame".into() };
        assert_eq!(basic(&credential).unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
