//! The executor API over HTTP: calls in protobuf, events in RecordIO.

use std::time::Duration;

use ::http::{Request, StatusCode, header};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use kernel_model::{
    executor::{Call, Event},
    ids::{ExecutorId, FrameworkId},
};
use kernel_wire::{
    codec::{self, ContentType},
    executor_api::{self, ParsedExecutorCall},
    recordio,
};
use tokio::sync::mpsc;
use transport::client::{Client, ClientOptions};

use super::{AgentLink, LinkError};

const PATH: &str = "/api/v1/executor";
/// Events in the queue of the executor; beyond it the stream applies back-pressure.
const QUEUE_MAX: usize = 256;
/// The largest event: a Pod has at most 1.5 MB in the store, its task a little more.
const EVENT_BYTES_MAX: usize = 16 << 20;
/// Mesos' default of `--recovery_timeout`.
const DEFAULT_RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How much of a refusal's body is shown.
const REFUSAL_BYTES_MAX: usize = 4096;

/// The variables that the agent sets for an executor.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub endpoint: String,
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    pub recovery_timeout: Duration,
    pub token: Option<String>,
}

/// An environment variable that the agent sets is missing or malformed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum EnvironmentError {
    #[error("{0} is not set: the executor is started by an agent")]
    NotSet(&'static str),
    #[error("{0} is not a duration: {1:?}")]
    NotADuration(&'static str, String),
}

impl Environment {
    pub fn read() -> Result<Self, EnvironmentError> {
        const RECOVERY_TIMEOUT: &str = "MESOS_RECOVERY_TIMEOUT";
        let var = |name: &'static str| std::env::var(name).map_err(|_| EnvironmentError::NotSet(name));
        let recovery_timeout = match std::env::var(RECOVERY_TIMEOUT) {
            Ok(text) => duration(&text).ok_or(EnvironmentError::NotADuration(RECOVERY_TIMEOUT, text))?,
            Err(_) => DEFAULT_RECOVERY_TIMEOUT,
        };
        Ok(Self {
            endpoint: var("MESOS_AGENT_ENDPOINT")?,
            framework_id: var("MESOS_FRAMEWORK_ID")?.into(),
            executor_id: var("MESOS_EXECUTOR_ID")?.into(),
            recovery_timeout,
            token: std::env::var("MESOS_EXECUTOR_AUTHENTICATION_TOKEN").ok(),
        })
    }
}

/// Parses a duration as Mesos writes it: `15mins`.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "secs" => 1.0,
        "mins" => 60.0,
        "hrs" => 3600.0,
        "days" => 86_400.0,
        "weeks" => 604_800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

pub(crate) struct HttpLink {
    client: Client,
    environment: Environment,
}

impl HttpLink {
    pub fn new(environment: Environment) -> Self {
        Self { client: Client::new(ClientOptions::default()), environment }
    }

    async fn post(&self, call: Call) -> Result<::http::Response<Incoming>, LinkError> {
        let parsed = ParsedExecutorCall {
            framework_id: self.environment.framework_id.clone(),
            executor_id: self.environment.executor_id.clone(),
            call,
        };
        let body = codec::encode(ContentType::Protobuf, &executor_api::call_to_wire(&parsed));
        let protobuf = ContentType::Protobuf.as_str();
        let mut request = Request::post(format!("http://{}{PATH}", self.environment.endpoint))
            .header(header::CONTENT_TYPE, protobuf)
            .header(header::ACCEPT, protobuf);
        if let Some(token) = &self.environment.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|e| LinkError::Unavailable(e.to_string()))?;
        let response = self.client.send(request).await.map_err(|e| LinkError::Unavailable(e.to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let text =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let why = format!("{status}: {text}");
        // 403: not subscribed yet; the next SUBSCRIBE resolves it.
        if status.is_client_error() && status != StatusCode::FORBIDDEN {
            Err(LinkError::Refused(why))
        } else {
            Err(LinkError::Unavailable(why))
        }
    }
}

#[async_trait]
impl AgentLink for HttpLink {
    async fn subscribe(&self, call: Call) -> Result<mpsc::Receiver<Event>, LinkError> {
        let response = self.post(call).await?;
        let (events, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(async move {
            if let Err(error) = read_events(response.into_body(), events).await {
                tracing::info!(error, "the agent's event stream ended");
            }
        });
        Ok(receiver)
    }

    async fn send(&self, call: Call) -> Result<(), LinkError> {
        let response = self.post(call).await?;
        // Read to the end, so that the connection can be reused.
        let _ = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
        Ok(())
    }
}

async fn read_events(mut body: Incoming, events: mpsc::Sender<Event>) -> Result<(), String> {
    let mut decoder = recordio::Decoder::new(EVENT_BYTES_MAX);
    loop {
        while let Some(record) = decoder.next_record().map_err(|e| e.to_string())? {
            let record: Bytes = record;
            let message = codec::decode(ContentType::Protobuf, &record).map_err(|e| e.to_string())?;
            let event = executor_api::event_from_wire(message).map_err(|e| e.to_string())?;
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return Ok(());
            }
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    decoder.push(&data);
                }
            }
            Some(Err(error)) => return Err(error.to_string()),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mesos_durations() {
        assert_eq!(duration("15mins"), Some(Duration::from_secs(900)));
        assert_eq!(duration("0.5secs"), Some(Duration::from_millis(500)));
        assert_eq!(duration("soon"), None);
    }
}
