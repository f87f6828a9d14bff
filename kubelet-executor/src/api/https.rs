//! The API over HTTPS, with the node's certificate.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret, Service};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Api, ApiError, Token, TokenRequest};
use crate::{
    config::Config,
    transport::{http_client::HttpClient, tls},
};

/// The largest answer that is taken: a list of all Services of a large cluster stays below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long an answer's body may take after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct HttpsApi {
    client: HttpClient,
}

impl HttpsApi {
    pub fn new(config: &Arc<Config>) -> Self {
        let url = config.api_server.as_str();
        let (secure, rest) = match url.strip_prefix("http://") {
            Some(rest) => (false, rest),
            None => (true, url.strip_prefix("https://").unwrap_or(url)),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if secure { 443 } else { 80 })
        };
        let config = config.clone();
        let source: crate::transport::http_client::TlsSource = Arc::new(move || tls::client(&config));
        Self { client: HttpClient::new(&authority, secure.then_some(source)) }
    }

    async fn call(&self, method: Method, path: &str, body: Option<(&str, Value)>) -> Result<Bytes, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header("accept", "application/json");
        let mut bytes = Bytes::new();
        if let Some((content_type, value)) = body {
            request = request.header("content-type", content_type);
            bytes = value.to_string().into();
        }
        let unavailable = |error: String| ApiError::Unavailable(error);
        let request = request.body(Full::new(bytes)).map_err(|e| unavailable(e.to_string()))?;
        let response = self.client.send(request).await.map_err(|e| unavailable(e.to_string()))?;
        let status = response.status();
        let body = tokio::time::timeout(
            BODY_TIMEOUT,
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect(),
        );
        let body = body.await.map_err(|_| unavailable("the response took too long".to_owned()))?;
        let body = body.map_err(|e| unavailable(e.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = event["message"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
        Err(ApiError::Refused { code: status.as_u16(), message })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        parse(&self.call(Method::GET, path, None).await?)
    }

    async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ApiError> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(ApiError::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::Unavailable(format!("the response does not decode: {e}")))
}

#[async_trait]
impl Api for HttpsApi {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ApiError> {
        self.find(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
        self.find(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await
    }

    async fn services(&self) -> Result<Vec<Service>, ApiError> {
        let list: List<Service> = self.get("/api/v1/services").await?;
        Ok(list.items)
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, ApiError> {
        let audiences: Vec<&String> = request.audience.iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": request.expiration_seconds,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": request.pod.0, "uid": request.pod.1 },
            },
        });
        let path =
            format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", request.namespace, request.account);
        let answer: Value = parse(&self.call(Method::POST, &path, Some(("application/json", body))).await?)?;
        let status = &answer["status"];
        let expires_at =
            status["expirationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        match (status["token"].as_str(), expires_at) {
            (Some(token), Some(expires_at)) => Ok(Token { token: token.to_owned(), expires_at }),
            _ => Err(ApiError::Unavailable("the response has no token".to_owned())),
        }
    }

    async fn pod_uids(&self, node: &str) -> Result<Vec<String>, ApiError> {
        let list: List<Value> =
            self.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await?;
        Ok(list.items.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect())
    }

    async fn record(&self, event: &Event) -> Result<(), ApiError> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let value = serde_json::to_value(event).map_err(|e| ApiError::Unavailable(e.to_string()))?;
        if event.count.unwrap_or(1) > 1 {
            let patch = json!({
                "count": event.count, "lastTimestamp": value["lastTimestamp"], "message": value["message"],
            });
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patched = self
                .call(Method::PATCH, &format!("{path}/{name}"), Some(("application/merge-patch+json", patch)))
                .await;
            match patched {
                // It may have expired; then it is recorded anew.
                Err(ApiError::Refused { code, .. }) if code == StatusCode::NOT_FOUND.as_u16() => {}
                other => return other.map(drop),
            }
        }
        self.call(Method::POST, &path, Some(("application/json", value))).await.map(drop)
    }
}

#[derive(serde::Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}
