//! One issuer over HTTPS: its discovery document, and its keys, which are fetched again when a token is signed by one that is not
//! known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use shim_core::jwt::Issuer;
use tokio::sync::watch;
use tokio::time::Instant;
use transport::client::{Client, ClientOptions};
use transport::redirect::resolve;
use transport::tls::{ALPN_HTTP, TlsError, Trust, client_config_trusting};

use super::keys::KeySet;
use super::token::Token;

/// Pause between attempts to read the discovery document; upstream's.
const DISCOVERY_RETRY: Duration = Duration::from_secs(10);
/// Least time from the end of a fetch of keys to the next, whatever tokens arrive: a forged token must not make this server ask the issuer.
const REFETCH_PAUSE: Duration = Duration::from_secs(10);
/// Time limit of a request with its body; upstream's.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a document. The largest key sets have some dozens of keys of a kilobyte.
const DOCUMENT_MAX: usize = 1 << 20;
/// Most redirects of a request, as Go's client.
const REDIRECTS_MAX: usize = 10;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Why a document of an issuer could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}: invalid URL")]
    Url(String),
    #[error("{url}: {reason}")]
    Request { url: String, reason: String },
    #[error("{url}: {status}")]
    Status { url: String, status: StatusCode },
    #[error("{0}: too many redirects")]
    Redirects(String),
    #[error("{url}: {error}")]
    Content { url: String, error: serde_json::Error },
    #[error("oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {found:?}")]
    Issuer { wanted: String, found: String },
    #[error("provider did not return JWKS URL")]
    NoKeys,
}

/// An issuer.
pub(super) struct Provider {
    issuer: Issuer,
    client: Client,
    /// Where its keys are, once the discovery document has been read.
    keys_url: ArcSwapOption<String>,
    keys: ArcSwap<KeySet>,
    fetches: Mutex<Fetches>,
}

/// Why a fetch of keys has failed, for all who wait for it.
type Fetched = Result<(), Arc<str>>;

/// The fetches of keys. There is one at a time, in a task of its own: all requests that need it share its result, and it
/// goes on if they are cancelled.
#[derive(Default)]
struct Fetches {
    /// The result of the one that runs; closed if its task is gone.
    running: Option<watch::Receiver<Option<Fetched>>>,
    /// When the last one ended; while one runs, when it began.
    last: Option<Instant>,
}

#[derive(Deserialize)]
struct Discovery {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

impl Provider {
    pub(super) fn new(issuer: Issuer) -> Result<Provider, TlsError> {
        let trust = match issuer.certificate_authority.as_str() {
            "" => Trust::Machine,
            pem => Trust::Bundle(pem),
        };
        let tls = client_config_trusting(trust, None, ALPN_HTTP)?;
        Ok(Provider {
            issuer,
            client: Client::new(ClientOptions::with_tls(tls)),
            keys_url: ArcSwapOption::empty(),
            keys: ArcSwap::default(),
            fetches: Mutex::default(),
        })
    }

    /// Whether the discovery document has been read.
    pub(super) fn is_initialized(&self) -> bool {
        self.keys_url.load().is_some()
    }

    /// Reads the discovery document, and retries until it succeeds.
    pub(super) async fn initialize(self: Arc<Self>) {
        while let Err(error) = self.discover().await {
            tracing::error!(issuer = self.issuer.url, %error, "issuer of tokens cannot be reached; retrying");
            tokio::time::sleep(DISCOVERY_RETRY).await;
        }
    }

    async fn discover(&self) -> Result<(), FetchError> {
        let default = || format!("{}{WELL_KNOWN}", self.issuer.url.trim_end_matches('/'));
        let url = self.issuer.discovery_url.clone().unwrap_or_else(default);
        let bytes = self.get(&url, None).await?;
        let document: Discovery =
            serde_json::from_slice(&bytes).map_err(|error| FetchError::Content { url, error })?;
        if document.issuer != self.issuer.url {
            return Err(FetchError::Issuer { wanted: self.issuer.url.clone(), found: document.issuer });
        }
        if document.jwks_uri.is_empty() {
            return Err(FetchError::NoKeys);
        }
        self.keys_url.store(Some(Arc::new(document.jwks_uri)));
        Ok(())
    }

    /// Verifies the signature of a token.
    pub(super) async fn verify(self: &Arc<Self>, token: &Token<'_>) -> Result<(), String> {
        let Some(url) = self.keys_url.load_full() else {
            return Err("oidc: authenticator not initialized".to_owned());
        };
        let is_signed =
            |keys: &KeySet| keys.verifies(&token.algorithm, &token.key_id, token.message, token.signature);
        if is_signed(&self.keys.load()) {
            return Ok(());
        }
        if let Some(mut fetch) = self.fetch_keys(url) {
            let fetched = match fetch.wait_for(Option::is_some).await {
                Ok(result) => result.clone().unwrap_or(Ok(())),
                Err(_) => Err("the fetch was aborted".into()),
            };
            fetched.map_err(|why| format!("failed to verify signature: fetching keys {why}"))?;
        }
        // Without a fetch, too: one may have ended meanwhile.
        match is_signed(&self.keys.load()) {
            true => Ok(()),
            false => Err("failed to verify signature: failed to verify id token signature".to_owned()),
        }
    }

    /// The fetch of keys that runs, or else a new one; `None` if the last one ended a moment ago.
    fn fetch_keys(self: &Arc<Self>, url: Arc<String>) -> Option<watch::Receiver<Option<Fetched>>> {
        let mut fetches = self.fetches();
        if let Some(running) = fetches.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        if fetches.last.is_some_and(|at| at.elapsed() < REFETCH_PAUSE) {
            return None;
        }
        let (result, running) = watch::channel(None);
        *fetches = Fetches { running: Some(running.clone()), last: Some(Instant::now()) };
        drop(fetches);
        let provider = self.clone();
        tokio::spawn(async move {
            let fetched = provider.read_keys(&url).await;
            *provider.fetches() = Fetches { running: None, last: Some(Instant::now()) };
            result.send_replace(Some(fetched.map_err(|error| error.to_string().into())));
        });
        Some(running)
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_keys(&self, url: &str) -> Result<(), FetchError> {
        let bytes = self.get(url, None).await?;
        let keys =
            KeySet::parse(&bytes).map_err(|error| FetchError::Content { url: url.to_owned(), error })?;
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Reads a document, with a bearer token if there is one.
    pub(super) async fn get(&self, url: &str, bearer: Option<&str>) -> Result<Bytes, FetchError> {
        let timed_out = |_| FetchError::Request { url: url.to_owned(), reason: "timed out".to_owned() };
        tokio::time::timeout(FETCH_TIMEOUT, self.follow(url, bearer)).await.map_err(timed_out)?
    }

    async fn follow(&self, url: &str, mut bearer: Option<&str>) -> Result<Bytes, FetchError> {
        let mut uri: Uri = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
        for _ in 0..=REDIRECTS_MAX {
            let failed = |reason: String| FetchError::Request { url: uri.to_string(), reason };
            let mut request = Request::get(uri.clone());
            if let Some(bearer) = bearer {
                request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
            }
            let request = request.body(Full::default()).map_err(|error| failed(error.to_string()))?;
            let response = self.client.send(request).await.map_err(|error| failed(with_causes(&error)))?;
            let status = response.status();
            if status.is_redirection()
                && let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
            {
                let next = resolve(&uri, location).ok_or_else(|| FetchError::Url(location.to_owned()))?;
                // The token is for this server only.
                bearer = bearer.filter(|_| is_same_server(&next, &uri));
                uri = next;
                continue;
            }
            if status != StatusCode::OK {
                return Err(FetchError::Status { url: uri.to_string(), status });
            }
            let body = Limited::new(response.into_body(), DOCUMENT_MAX).collect().await;
            return body.map(|body| body.to_bytes()).map_err(|error| failed(with_causes(&*error)));
        }
        Err(FetchError::Redirects(url.to_owned()))
    }
}

/// Whether scheme, host and port are the same.
fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme() == other.scheme() && host(one) == host(other) && port(one) == port(other)
}

/// An error with what has caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        let is_same = |other: &'static str| {
            is_same_server(&Uri::from_static("https://a.example/groups"), &Uri::from_static(other))
        };
        assert!(is_same("https://a.example/other") && is_same("https://A.example:443/"));
        for other in
            ["http://a.example/", "http://a.example:443/", "https://a.example:8443/", "https://b.a.example/"]
        {
            assert!(!is_same(other), "{other}");
        }
    }
}
