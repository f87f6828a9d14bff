//! `/api/v1/scheduler`: the scheduler API.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header::HeaderName};
use kernel_core::master;
use kernel_model::{
    caller::Caller,
    ids::{FrameworkId, StreamId},
    scheduler::{Call, ErrorReason, Event, Subscribe},
};
use kernel_wire::{
    Invalid,
    codec::{ContentType, encode},
    framework::format_for,
    resources::Format,
    scheduler_call::{self, ParsedCall},
    scheduler_event,
    v1::scheduler as wire,
};

use super::{
    Answer, Handlers,
    negotiate::{self, text, with_header},
    stream::{self, Source},
};
use crate::master_driver::StreamHandle;

/// The header with the stream id of a subscription.
const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");

/// Handles a call.
pub(super) async fn serve(handlers: &Arc<Handlers>, caller: Caller, request: Request<Incoming>) -> Answer {
    match answer(handlers, caller, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn answer(
    handlers: &Arc<Handlers>,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Answer, Answer> {
    let parsed = negotiate::parse::<wire::Call>(request).await?;
    let negotiate::ParsedRequest { call, headers, is_large, lease: _lease } = parsed;
    let number = call.r#type.unwrap_or_default();
    let parsed =
        negotiate::compute(is_large, || scheduler_call::from_wire(call)).await?.map_err(|Invalid(why)| {
            text(StatusCode::BAD_REQUEST, format!("Failed to validate scheduler::Call: {why}"))
        })?;
    if let Ok(kind) = wire::call::Type::try_from(number) {
        handlers.counters.called(kind.as_str_name());
    }
    match parsed {
        ParsedCall::Subscribe(subscribe) => subscribe_answer(handlers, caller, &headers, subscribe).await,
        ParsedCall::Call(framework_id, call) => {
            call_answer(handlers, caller, &headers, framework_id, call).await
        }
        ParsedCall::RefusedUpdate(framework_id, Invalid(why)) => {
            require_framework(handlers, framework_id).await?;
            Err(text(StatusCode::BAD_REQUEST, why))
        }
        ParsedCall::Unknown(None) => Err(text(
            StatusCode::BAD_REQUEST,
            "Failed to validate scheduler::Call: Expecting 'framework_id' to be present",
        )),
        ParsedCall::Unknown(Some(framework_id)) => {
            require_framework(handlers, framework_id).await?;
            Err(negotiate::not_implemented())
        }
    }
}

async fn require_framework(handlers: &Handlers, framework_id: FrameworkId) -> Result<(), Answer> {
    let read = move |master: &master::Master| master.framework(&framework_id).is_some();
    match handlers.queue.read(read).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(text(StatusCode::BAD_REQUEST, "Framework cannot be found")),
        Err(_) => Err(negotiate::stopped()),
    }
}

async fn subscribe_answer(
    handlers: &Arc<Handlers>,
    caller: Caller,
    headers: &HeaderMap,
    subscribe: Result<Subscribe, Invalid>,
) -> Result<Answer, Answer> {
    let content = negotiate::accepted(headers)?;
    if headers.contains_key(&STREAM_ID) {
        return Err(text(
            StatusCode::BAD_REQUEST,
            "Subscribe calls should not include the 'Mesos-Stream-Id' header",
        ));
    }
    let subscribe = match subscribe {
        Ok(subscribe) => subscribe,
        Err(Invalid(message)) => return Ok(refusal(content, message)),
    };
    let format = format_for(&subscribe.framework);
    let handle = handlers.queue.subscribe(caller, subscribe).await.map_err(negotiate::call_error)?;
    let id = handle.id.clone();
    let source = SchedulerStream { handle, content, format, heartbeat: handlers.heartbeat, over: false };
    Ok(streaming(content, &id, stream::body(source, handlers.heartbeat)))
}

fn streaming(content: ContentType, id: &StreamId, body: super::Body) -> Answer {
    let response = with_header(Response::new(body), hyper::header::CONTENT_TYPE, content.as_str());
    with_header(response, STREAM_ID, id.as_str())
}

/// A stream with only an ERROR event.
fn refusal(content: ContentType, message: String) -> Answer {
    let event = scheduler_event::to_wire(&Event::Error { reason: ErrorReason::Other, message }, Format::FULL);
    let id = StreamId::from(uuid::Uuid::new_v4().to_string());
    let source = SingleFrameBody(Some(encode(content, &event)));
    streaming(content, &id, stream::body(source, std::time::Duration::MAX))
}

/// A stream of one record.
struct SingleFrameBody(Option<Bytes>);

impl Source for SingleFrameBody {
    fn poll_record(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(self.0.take())
    }

    fn heartbeat(&self) -> Bytes {
        Bytes::new()
    }
}

async fn call_answer(
    handlers: &Handlers,
    caller: Caller,
    headers: &HeaderMap,
    framework_id: FrameworkId,
    call: Call,
) -> Result<Answer, Answer> {
    if matches!(call, Call::ReconcileOperations { .. }) {
        // The only call without a response body whose `Accept` Mesos looks at.
        negotiate::accepted(headers)?;
    }
    let stream =
        headers.get(&STREAM_ID).map(|v| StreamId::from(String::from_utf8_lossy(v.as_bytes()).into_owned()));
    match handlers.queue.call(caller, framework_id, stream, call).await {
        Ok(master::Answer::Done) => Ok(text(StatusCode::OK, "")),
        Ok(master::Answer::Accepted | master::Answer::Stream) => Ok(text(StatusCode::ACCEPTED, "")),
        Err(call_error) => Err(negotiate::call_error(call_error)),
    }
}

/// A framework's events, encoded when they are sent.
struct SchedulerStream {
    handle: StreamHandle,
    content: ContentType,
    format: Format,
    heartbeat: std::time::Duration,
    /// Set after an ERROR, which ends the stream.
    over: bool,
}

impl SchedulerStream {
    fn encode(&self, event: &Event) -> Bytes {
        scheduler_event::encode(self.content, event, self.format)
    }
}

impl Source for SchedulerStream {
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.handle.events.poll_recv(cx).map(|event| {
            let mut event = event?;
            match &mut event {
                Event::Subscribed { heartbeat_interval, .. } => *heartbeat_interval = self.heartbeat,
                Event::Error { .. } => self.over = true,
                _ => {}
            }
            Some(self.encode(&event))
        })
    }

    fn heartbeat(&self) -> Bytes {
        self.encode(&Event::Heartbeat)
    }
}
