//! An executor's event stream: one RecordIO record per chunk, and a heartbeat every half hour.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use kernel_model::{
    executor::Event,
    ids::{ExecutorId, FrameworkId},
};
use kernel_wire::{
    codec::{ContentType, encode},
    executor_api::event_to_wire,
    framework::format_for,
    recordio,
    resources::Format,
};
use tokio::time::{Instant, Interval};

use super::Handlers;
use crate::{agent_driver::ExecutorStream, http::Body};

/// Mesos' `DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL`.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30 * 60);

struct SubscriptionBody {
    handlers: Arc<Handlers>,
    who: (FrameworkId, ExecutorId),
    stream: ExecutorStream,
    content: ContentType,
    /// The framework's resource format, known from SUBSCRIBED on.
    format: Format,
    heartbeat: Interval,
}

/// The response body of a subscription.
pub(super) fn body(
    handlers: Arc<Handlers>,
    who: (FrameworkId, ExecutorId),
    stream: ExecutorStream,
    content: ContentType,
) -> Body {
    let heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
    SubscriptionBody { handlers, who, stream, content, format: Format::FULL, heartbeat }.boxed_unsync()
}

impl SubscriptionBody {
    fn record(&mut self, event: &Event) -> Frame<Bytes> {
        if let Event::Subscribed { framework, container_id, .. } = event {
            self.format = format_for(framework);
            self.handlers.containers().insert(self.who.clone(), container_id.clone());
        }
        let message = event_to_wire(event, self.format);
        Frame::data(recordio::frame(&encode(self.content, &message)))
    }
}

impl hyper::body::Body for SubscriptionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Poll::Ready(event) = this.stream.events.poll_recv(cx) {
            return Poll::Ready(event.map(|event| Ok(this.record(&event))));
        }
        ready!(this.heartbeat.poll_tick(cx));
        Poll::Ready(Some(Ok(this.record(&Event::Heartbeat))))
    }
}
