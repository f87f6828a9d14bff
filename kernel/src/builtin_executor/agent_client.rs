//! Client of the agent's executor API: calls, and the events of a subscription.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use kernel_model::executor::{Call, Event};
use kernel_wire::{
    codec::ContentType,
    executor_api::{self, ParsedExecutorCall},
    prost::Message,
    recordio::Decoder,
    v1,
};
use tokio::runtime::Runtime;
use transport::client::{Client, ClientOptions};

use super::Settings;

/// Path of the executor API.
const EXECUTOR_PATH: &str = "/api/v1/executor";

/// How long the agent may take to accept a connection, or to respond to a call.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest event: a task with all its data.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Calls the agent. Blocks: a command task's process has threads and no other use for a runtime.
pub(super) struct AgentClient {
    settings: Settings,
    client: Client,
    runtime: Runtime,
}

/// The events of a subscription.
pub(super) struct EventStream {
    body: Incoming,
    records: Decoder,
    runtime: Runtime,
}

impl AgentClient {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        let options = ClientOptions {
            connect_timeout: RESPONSE_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            ..ClientOptions::default()
        };
        Ok(Self { settings, client: Client::new(options), runtime: runtime()? })
    }

    /// Sends a call whose response has a status and nothing more. A call that fails is sent once more: the pooled
    /// connection may be one to an agent that has been restarted since. The agent acknowledges a repeated update again.
    pub(super) fn call(&self, call: Call) -> io::Result<()> {
        let status = self.runtime.block_on(async {
            match self.exchange(call.clone()).await {
                Err(_) => self.exchange(call).await,
                sent => sent,
            }
        })?;
        match status {
            StatusCode::ACCEPTED => Ok(()),
            other => Err(io::Error::other(format!("the agent refuses the call with {other}"))),
        }
    }

    async fn exchange(&self, call: Call) -> io::Result<StatusCode> {
        let response = self.post(call).await?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        response.into_body().collect().await.map_err(io::Error::other)?;
        Ok(status)
    }

    /// Subscribes. The subscription takes the client with it, as it has the runtime that drives the connection.
    pub(super) fn subscribe(self, call: Call) -> io::Result<EventStream> {
        let response = self.runtime.block_on(self.post(call))?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(io::Error::other(format!("the agent refuses the subscription with {status}")));
        }
        let (body, records) = (response.into_body(), Decoder::new(EVENT_BYTES_MAX));
        Ok(EventStream { body, records, runtime: self.runtime })
    }

    async fn post(&self, call: Call) -> io::Result<Response<Incoming>> {
        let mut request = Request::post(format!("http://{}{EXECUTOR_PATH}", self.settings.endpoint))
            .header(header::CONTENT_TYPE, ContentType::Protobuf.as_str())
            .header(header::ACCEPT, ContentType::Protobuf.as_str());
        if let Some(token) = &self.settings.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(self.encode(call)))).map_err(io::Error::other)?;
        self.client.send(request).await.map_err(io::Error::other)
    }

    fn encode(&self, call: Call) -> Vec<u8> {
        let (framework_id, executor_id) =
            (self.settings.framework_id.clone(), self.settings.executor_id.clone());
        executor_api::call_to_wire(&ParsedExecutorCall { framework_id, executor_id, call }).encode_to_vec()
    }
}

/// A runtime on the calling thread.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl EventStream {
    /// The next event; an error ends the stream.
    pub(super) fn next(&mut self) -> io::Result<Event> {
        loop {
            while let Some(record) = self.records.next_record().map_err(io::Error::other)? {
                if let Some(event) = decode(record)? {
                    return Ok(event);
                }
            }
            match self.runtime.block_on(self.body.frame()) {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(frame) => {
                    if let Some(data) = frame.map_err(io::Error::other)?.data_ref() {
                        self.records.push(data);
                    }
                }
            }
        }
    }
}

fn decode(record: Bytes) -> io::Result<Option<Event>> {
    let message = v1::executor::Event::decode(record).map_err(io::Error::other)?;
    executor_api::event_from_wire(message).map_err(io::Error::other)
}
