//! Requests of the autoscaler to this API server: scales, of custom resources too, and the metrics APIs, which other servers answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use shim_core::autoscaler::{self, MetricsApi, Query, Reference, Scale, bounded};
use shim_model::access;
use shim_model::resource::split_api_version;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::authentication::User;
use crate::http::body::{self, Body, Request};
use crate::http::service::{ApiService, Caller};
use crate::pipeline::Pipeline;
use crate::storage::catalog::ServedResource;

/// Attempts to change a scale that somebody else changes meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// Metrics that one look asks for at the same time.
const METRICS_AT_ONCE_MAX: usize = 4;
/// The longest answer, in bytes: the usage of some twenty thousand Pods.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A longer answer is large, in bytes. With all others below it, 16 looks hold at most 16 MiB.
const LARGE_ANSWER_BYTES: usize = 256 * 1024;
/// Large answers that are read at the same time, at most one of each look: together at most 64 MiB.
const LARGE_ANSWERS_MAX: usize = 4;
/// The product of the agent is the manager of the fields that it writes.
const AGENT: &str = "kube-controller-manager/v1.36.0 (catamaran) horizontal-pod-autoscaler";

/// The API server, as the autoscaler's service account sees it.
pub(super) struct ApiClient {
    service: ApiService,
    large_answers: Semaphore,
}

/// What one look may use.
pub(super) struct LookLimits {
    deadline: Instant,
    /// Metrics that are asked for.
    metrics: Semaphore,
    /// Large answers that are read.
    large_answers: Semaphore,
}

/// An answer. The permits count it as long as it is held.
pub(super) struct Answer<'a> {
    bytes: Bytes,
    _large: Option<[SemaphorePermit<'a>; 2]>,
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

/// A request. `asked` names the resource where the answer does not say what is wrong.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    value: Option<&'a Value>,
    asked: &'a str,
}

/// The resource of a kind, of this version if it has one.
pub(super) fn row(
    pipeline: &Pipeline,
    group: &str,
    version: Option<&str>,
    kind: &str,
) -> Option<Arc<ServedResource>> {
    let catalog = pipeline.registry().catalog();
    let rows = || catalog.iter().filter(|row| row.group == group && row.kind == kind);
    rows().find(|row| version.is_none_or(|version| row.version == version)).or_else(|| rows().next()).cloned()
}

impl LookLimits {
    pub fn until(deadline: Instant) -> LookLimits {
        let (metrics, large_answers) = (Semaphore::new(METRICS_AT_ONCE_MAX), Semaphore::new(1));
        LookLimits { deadline, metrics, large_answers }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

impl Answer<'_> {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl ApiClient {
    pub fn new(service: &ApiService) -> ApiClient {
        let user = User::service_account("kube-system", autoscaler::NAME);
        let service = service.for_caller(Caller::Known(Arc::new(user)));
        ApiClient { service, large_answers: Semaphore::new(LARGE_ANSWERS_MAX) }
    }

    /// The scale of a target, or why it cannot be read.
    pub async fn scale(
        &self,
        pipeline: &Pipeline,
        namespace: &str,
        target: &Reference,
        limits: &LookLimits,
    ) -> Result<(ScaleObject, Scale), String> {
        let path = {
            let (group, version) = split_api_version(&target.api_version);
            let row = row(pipeline, group, Some(version), &target.kind);
            let row = row.ok_or_else(|| autoscaler::no_match(group, &target.kind))?;
            let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let (version, plural, name) = (&row.version, &row.plural, &target.name);
            format!("{root}/{version}/namespaces/{namespace}/{plural}/{name}/scale")
        };
        let value = self.get(&path, limits).await.map_err(|failure| failure.message)?;
        let scale = Scale::read(&value)?;
        Ok((ScaleObject { path, value }, scale))
    }

    /// Sets the number of replicas of a scale. Of one that somebody else has changed meanwhile, the newest is read.
    pub async fn set_replicas(
        &self,
        scale: ScaleObject,
        replicas: i64,
        limits: &LookLimits,
    ) -> Result<(), String> {
        let ScaleObject { path, mut value } = scale;
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            access::object_mut(&mut value, &["spec"]).insert("replicas".into(), replicas.into());
            let ask = Ask { method: Method::PUT, path: &path, value: Some(&value), asked: "" };
            match self.send(&ask, limits).await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.status == StatusCode::CONFLICT => last = failure.message,
                Err(failure) => return Err(failure.message),
            }
            value = self.get(&path, limits).await.map_err(|failure| failure.message)?;
        }
        Err(last)
    }

    /// The answer of a metrics API, or why there is none.
    pub async fn ask<'a>(&'a self, query: &Query, limits: &'a LookLimits) -> Result<Answer<'a>, String> {
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
        let ask = Ask { method: Method::GET, path: &path, value: None, asked: &query.asked };
        // A semaphore that is never closed; it is waited for no longer than for the answer.
        let turn = tokio::time::timeout_at(limits.deadline, limits.metrics.acquire());
        let Ok(_turn) = turn.await else { return Err(late().message) };
        self.send(&ask, limits).await.map_err(|failure| failure.message)
    }

    async fn get(&self, path: &str, limits: &LookLimits) -> Result<Value, Failure> {
        let answer = self.send(&Ask { method: Method::GET, path, value: None, asked: "" }, limits).await?;
        serde_json::from_slice(answer.bytes()).map_err(|error| Failure {
            status: StatusCode::OK,
            message: bounded(format!("cannot decode the answer: {error}")),
        })
    }

    async fn send<'a>(&'a self, ask: &Ask<'_>, limits: &'a LookLimits) -> Result<Answer<'a>, Failure> {
        if limits.is_over() {
            return Err(late());
        }
        let sent = ask.value.map_or_else(body::empty, |value| body::full(value.to_string()));
        let request: Request = http::Request::builder()
            .method(&ask.method)
            .uri(ask.path)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .body(sent)
            .map_err(|error| Failure { status: StatusCode::BAD_REQUEST, message: error.to_string() })?;
        let answered = tokio::time::timeout_at(limits.deadline, async {
            let response = self.service.respond(request).await;
            (response.status(), self.receive(response.into_body(), limits).await)
        });
        let (status, answer) = answered.await.map_err(|_| late())?;
        let answer = answer.map_err(|message| Failure { status, message: bounded(message) })?;
        match status.is_success() {
            true => Ok(answer),
            false => Err(Failure { status, message: refusal(status, answer.bytes(), ask.asked) }),
        }
    }

    /// Reads an answer, as much of it as is admitted.
    async fn receive<'a>(&'a self, mut body: Body, limits: &'a LookLimits) -> Result<Answer<'a>, String> {
        let (mut bytes, mut large) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > ANSWER_BYTES_MAX {
                return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            if length > LARGE_ANSWER_BYTES && large.is_none() {
                let own = limits.large_answers.acquire().await.map_err(|error| error.to_string())?;
                let shared = self.large_answers.acquire().await.map_err(|error| error.to_string())?;
                large = Some([own, shared]);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Answer { bytes: bytes.into(), _large: large })
    }
}

fn late() -> Failure {
    Failure { status: StatusCode::GATEWAY_TIMEOUT, message: "context deadline exceeded".to_owned() }
}

/// The message of a Status, or upstream's text for an answer that is none.
fn refusal(status: StatusCode, answer: &[u8], asked: &str) -> String {
    /// What is read of a refusal.
    #[derive(serde::Deserialize)]
    struct Refusal {
        kind: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Refusal>(answer) {
        Ok(refusal) if refusal.kind == "Status" => bounded(refusal.message),
        _ => untold(status, &bounded(String::from_utf8_lossy(answer).into_owned()), asked),
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
