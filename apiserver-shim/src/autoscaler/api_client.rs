//! Requests of the autoscaler to this API server: scales, of custom resources too, and the metrics APIs, which other servers answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use shim_core::autoscaler::{self, MetricsApi, Query, Reference, Scale};
use shim_model::access;
use shim_model::resource::split_api_version;

use crate::auth::authentication::User;
use crate::http::body::{self, Request};
use crate::http::service::{ApiService, Caller};
use crate::pipeline::Pipeline;

/// Time limit of a request: a metrics API that hangs delays the other targets no longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Attempts to change a scale that somebody else changes meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// The product of the agent is the manager of the fields that it writes.
const AGENT: &str = "kube-controller-manager/v1.36.0 (catamaran) horizontal-pod-autoscaler";

/// The API server, as the autoscaler's service account sees it.
pub(super) struct ApiClient {
    service: ApiService,
}

/// A scale as it was read, and its path.
pub(super) struct ScaleObject {
    path: String,
    value: Value,
}

/// A request that failed.
struct Failure {
    status: StatusCode,
    message: String,
}

impl ApiClient {
    pub fn new(service: &ApiService) -> ApiClient {
        let user = User::service_account("kube-system", autoscaler::NAME);
        ApiClient { service: service.for_caller(Caller::Known(Arc::new(user))) }
    }

    /// The scale of a target, or why it cannot be read.
    pub async fn scale(
        &self,
        pipeline: &Pipeline,
        namespace: &str,
        target: &Reference,
    ) -> Result<(ScaleObject, Scale), String> {
        let path = {
            let catalog = pipeline.registry().catalog();
            let (group, version) = split_api_version(&target.api_version);
            let rows = || catalog.iter().filter(|row| row.group == group && row.kind == target.kind);
            let row = rows().find(|row| row.version == version).or_else(|| rows().next());
            let row = row.ok_or_else(|| autoscaler::no_match(group, &target.kind))?;
            let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let (version, plural, name) = (&row.version, &row.plural, &target.name);
            format!("{root}/{version}/namespaces/{namespace}/{plural}/{name}/scale")
        };
        let value = self.get(&path).await.map_err(|failure| failure.message)?;
        let scale = Scale::read(&value);
        Ok((ScaleObject { path, value }, scale))
    }

    /// Sets the number of replicas of a scale. Of one that somebody else has changed meanwhile, the newest is read.
    pub async fn set_replicas(&self, scale: ScaleObject, replicas: i64) -> Result<(), String> {
        let ScaleObject { path, mut value } = scale;
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            access::object_mut(&mut value, &["spec"]).insert("replicas".into(), replicas.into());
            match self.send(Method::PUT, &path, Some(&value), "").await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.status == StatusCode::CONFLICT => last = failure.message,
                Err(failure) => return Err(failure.message),
            }
            value = self.get(&path).await.map_err(|failure| failure.message)?;
        }
        Err(last)
    }

    /// The answer of a metrics API, or why there is none.
    pub async fn ask(&self, query: &Query) -> Result<Value, String> {
        let group = query.api.group();
        let aggregator = &self.service.api().aggregator;
        let served = query.api.versions().iter().find(|version| aggregator.find(group, version).is_some());
        let Some(version) = served else {
            return Err(match query.api {
                MetricsApi::Custom => format!("no custom metrics API ({group}) registered"),
                MetricsApi::Resource | MetricsApi::External => not_found(&query.asked),
            });
        };
        let path = format!("/apis/{group}/{version}{}", query.path);
        self.send(Method::GET, &path, None, &query.asked).await.map_err(|failure| failure.message)
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None, "").await
    }

    /// Makes a request. `asked` names the resource where the answer does not say what is wrong.
    async fn send(
        &self,
        method: Method,
        path: &str,
        value: Option<&Value>,
        asked: &str,
    ) -> Result<Value, Failure> {
        let failure = |status, message: String| Failure { status, message };
        let sent = value.map_or_else(body::empty, |value| body::full(value.to_string()));
        let request: Request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .body(sent)
            .map_err(|error| failure(StatusCode::BAD_REQUEST, error.to_string()))?;
        let answer = tokio::time::timeout(ANSWER_MAX, async {
            let response = self.service.respond(request).await;
            let status = response.status();
            let bytes = response.into_body().collect().await;
            (status, bytes.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string()))
        });
        let late = |_| failure(StatusCode::GATEWAY_TIMEOUT, "context deadline exceeded".to_owned());
        let (status, bytes) = answer.await.map_err(late)?;
        let bytes = bytes.map_err(|error| failure(status, error))?;
        let document: Option<Value> = serde_json::from_slice(&bytes).ok();
        match document {
            Some(document) if status.is_success() => Ok(document),
            Some(document) if access::text(&document, &["kind"]) == "Status" => {
                Err(failure(status, access::text(&document, &["message"]).to_owned()))
            }
            _ => Err(failure(status, untold(status, &String::from_utf8_lossy(&bytes), asked))),
        }
    }
}

/// The text of upstream's client for an answer that is no Status.
fn untold(status: StatusCode, text: &str, asked: &str) -> String {
    match status {
        StatusCode::NOT_FOUND => not_found(asked),
        StatusCode::SERVICE_UNAVAILABLE => {
            format!("the server is currently unable to handle the request (get {asked})")
        }
        _ => format!(
            "an error on the server ({:?}) has prevented the request from succeeding (get {asked})",
            text.trim_end()
        ),
    }
}

fn not_found(asked: &str) -> String {
    format!("the server could not find the requested resource (get {asked})")
}
