//! `/api/v1/scheduler`: the door of frameworks.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header::HeaderName};
use kernel_core::master;
use kernel_model::{
    ids::{FrameworkId, StreamId},
    scheduler::{Call, Event, Subscribe},
};
use kernel_wire::{
    Invalid,
    codec::{ContentType, encode},
    framework::format_for,
    resources::Format,
    scheduler_call::{self, Parsed},
    scheduler_event,
    v1::scheduler as wire,
};

use super::{
    Answer, Doors,
    negotiate::{self, text, with_header},
    stream::{self, Source},
};
use crate::master_driver::StreamHandle;

/// The header that names a subscription.
const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");

/// Answers one call.
pub(super) async fn serve(doors: &Arc<Doors>, request: Request<Incoming>) -> Answer {
    match answer(doors, request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn answer(doors: &Arc<Doors>, request: Request<Incoming>) -> Result<Answer, Answer> {
    let negotiate::Parsed { call, headers, .. } = negotiate::parse::<wire::Call>(request).await?;
    let number = call.r#type.unwrap_or_default();
    let parsed = scheduler_call::from_wire(call).map_err(|Invalid(why)| {
        text(StatusCode::BAD_REQUEST, format!("Failed to validate scheduler::Call: {why}"))
    })?;
    if let Ok(kind) = wire::call::Type::try_from(number) {
        doors.counters.called(kind.as_str_name());
    }
    match parsed {
        Parsed::Subscribe(subscribe) => subscribe_answer(doors, &headers, subscribe).await,
        Parsed::Call(framework_id, call) => call_answer(doors, &headers, framework_id, call).await,
        Parsed::RefusedUpdate(framework_id, Invalid(why)) => {
            known(doors, framework_id).await?;
            Err(text(StatusCode::BAD_REQUEST, why))
        }
        Parsed::Unknown(None) => Err(text(
            StatusCode::BAD_REQUEST,
            "Failed to validate scheduler::Call: Expecting 'framework_id' to be present",
        )),
        Parsed::Unknown(Some(framework_id)) => {
            known(doors, framework_id).await?;
            Err(text(StatusCode::NOT_IMPLEMENTED, ""))
        }
    }
}

async fn known(doors: &Doors, framework_id: FrameworkId) -> Result<(), Answer> {
    let look = move |master: &master::Master| master.framework(&framework_id).is_some();
    match doors.queue.read(look).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(text(StatusCode::BAD_REQUEST, "Framework cannot be found")),
        Err(_) => Err(negotiate::stopped()),
    }
}

async fn subscribe_answer(
    doors: &Arc<Doors>,
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
    let handle = doors.queue.subscribe(subscribe).await.map_err(negotiate::fault)?;
    let id = handle.id.clone();
    let source = SchedulerStream { handle, content, format, heartbeat: doors.heartbeat, over: false };
    Ok(streaming(content, &id, stream::body(source, doors.heartbeat)))
}

fn streaming(content: ContentType, id: &StreamId, body: super::Body) -> Answer {
    let response = with_header(Response::new(body), hyper::header::CONTENT_TYPE, content.as_str());
    with_header(response, STREAM_ID, id.as_str())
}

/// A stream that holds nothing but the reason why there is none.
fn refusal(content: ContentType, message: String) -> Answer {
    let event = scheduler_event::to_wire(&Event::Error { message }, Format::FULL);
    let id = StreamId::from(uuid::Uuid::new_v4().to_string());
    let source = Lone(Some(encode(content, &event)));
    streaming(content, &id, stream::body(source, std::time::Duration::MAX))
}

/// One record, and the end.
struct Lone(Option<Bytes>);

impl Source for Lone {
    fn poll_record(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(self.0.take())
    }

    fn heartbeat(&self) -> Bytes {
        Bytes::new()
    }
}

async fn call_answer(
    doors: &Doors,
    headers: &HeaderMap,
    framework_id: FrameworkId,
    call: Call,
) -> Result<Answer, Answer> {
    let stream =
        headers.get(&STREAM_ID).map(|v| StreamId::from(String::from_utf8_lossy(v.as_bytes()).into_owned()));
    match doors.queue.call(framework_id, stream, call).await {
        Ok(master::Answer::Done) => Ok(text(StatusCode::OK, "")),
        Ok(master::Answer::Accepted | master::Answer::Stream) => Ok(text(StatusCode::ACCEPTED, "")),
        Err(fault) => Err(negotiate::fault(fault)),
    }
}

/// A framework's events, encoded as they are sent.
struct SchedulerStream {
    handle: StreamHandle,
    content: ContentType,
    format: Format,
    heartbeat: std::time::Duration,
    /// An ERROR ends the stream.
    over: bool,
}

impl SchedulerStream {
    fn encode(&self, event: &Event) -> Bytes {
        encode(self.content, &scheduler_event::to_wire(event, self.format))
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
