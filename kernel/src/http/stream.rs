//! Streaming responses: one RecordIO record per chunk, and a heartbeat after the first record and then at every
//! interval.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use kernel_wire::recordio;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Body;

/// The source of a stream's records.
pub(super) trait Source: Send + Unpin + 'static {
    /// The next record; `None` at the end.
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// The record of a heartbeat.
    fn heartbeat(&self) -> Bytes;
}

enum Phase {
    New,
    /// The first record was sent; a heartbeat follows unless the stream has ended.
    FirstSent,
    Open(Interval),
}

struct RecordBody<S> {
    source: S,
    interval: Duration,
    phase: Phase,
    /// A record that came while a heartbeat was due.
    held: Option<Bytes>,
}

/// The body of a stream. Every record has its own chunk: some clients require that.
pub(super) fn body(source: impl Source, interval: Duration) -> Body {
    RecordBody { source, interval, phase: Phase::New, held: None }.boxed_unsync()
}

impl<S: Source> RecordBody<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(Some(held));
        }
        let next = self.source.poll_record(cx);
        match &mut self.phase {
            Phase::New => {
                let record = ready!(next);
                self.phase = Phase::FirstSent;
                Poll::Ready(record)
            }
            Phase::FirstSent => {
                match next {
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(record)) => self.held = Some(record),
                    Poll::Pending => {}
                }
                let mut every = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
                every.set_missed_tick_behavior(MissedTickBehavior::Delay);
                self.phase = Phase::Open(every);
                Poll::Ready(Some(self.source.heartbeat()))
            }
            Phase::Open(every) => {
                if next.is_ready() {
                    return next;
                }
                ready!(every.poll_tick(cx));
                Poll::Ready(Some(self.source.heartbeat()))
            }
        }
    }
}

impl<S: Source> hyper::body::Body for RecordBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = ready!(self.poll_next(cx));
        Poll::Ready(next.map(|record| Ok(Frame::data(recordio::frame(&record)))))
    }
}
