//! The queue of a scheduler's events: bounded in events and in bytes, because a framework that does not read can have its executors send
//! it as much as they like.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use kernel_model::scheduler::Event;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::queue::SCHEDULER_QUEUE_BOUND;

/// Queued bytes per scheduler before its stream is closed: as many events as may be queued, with two KiB each.
const SCHEDULER_QUEUE_BYTES_MAX: usize = SCHEDULER_QUEUE_BOUND * 2048;

/// What an event takes beside its texts and data.
const EVENT_BYTES: usize = 256;

/// The master's end.
#[derive(Debug)]
pub(crate) struct EventSender {
    events: mpsc::Sender<Event>,
    /// The bytes of what is queued; `None` for a scheduler in this process.
    bytes: Option<Arc<AtomicUsize>>,
}

/// The stream's end.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    events: mpsc::Receiver<Event>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of a scheduler elsewhere.
pub(crate) fn bounded() -> (EventSender, EventReceiver) {
    let (sender, events) = mpsc::channel(SCHEDULER_QUEUE_BOUND);
    let bytes = Arc::new(AtomicUsize::new(0));
    (EventSender { events: sender, bytes: Some(bytes.clone()) }, EventReceiver { events, bytes })
}

impl EventSender {
    /// A queue that is bounded in events only.
    pub(crate) fn in_process(events: mpsc::Sender<Event>) -> Self {
        Self { events, bytes: None }
    }

    /// Queues an event unless the queue is full in either way.
    pub(crate) fn try_send(&self, event: Event) -> Result<(), TrySendError<Event>> {
        let Some(queued) = &self.bytes else { return self.events.try_send(event) };
        let bytes = bytes_of(&event);
        // Only the master's task adds to it. An empty queue takes an event of any size.
        let before = queued.load(Ordering::Relaxed);
        if before > 0 && before + bytes > SCHEDULER_QUEUE_BYTES_MAX {
            return Err(TrySendError::Full(event));
        }
        queued.fetch_add(bytes, Ordering::Relaxed);
        self.events.try_send(event)
    }
}

impl EventReceiver {
    /// The next event; `None` at the end.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx).map(|event| {
            let event = event?;
            self.bytes.fetch_sub(bytes_of(&event), Ordering::Relaxed);
            Some(event)
        })
    }
}

fn bytes_of(event: &Event) -> usize {
    EVENT_BYTES
        + match event {
            Event::Offers { offers } => offers.len() * EVENT_BYTES,
            Event::InverseOffers { offers } => offers.len() * EVENT_BYTES,
            Event::Update { status } => {
                let message = status.message.as_ref().map_or(0, String::len);
                status.task_id.as_str().len() + message + status.extra.len()
            }
            Event::UpdateOperationStatus { operation_id, message, .. } => {
                operation_id.as_str().len() + message.len()
            }
            Event::Message { executor_id, data, .. } => executor_id.as_str().len() + data.len(),
            Event::Error { message, .. } => message.len(),
            Event::Subscribed { .. } | Event::Rescind { .. } | Event::Failure { .. } | Event::Heartbeat => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Event {
        Event::Message { agent_id: "a".into(), executor_id: "e".into(), data: vec![0; bytes].into() }
    }

    #[test]
    fn a_queue_is_bounded_in_bytes() {
        let (sender, mut receiver) = bounded();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(sender.try_send(message(SCHEDULER_QUEUE_BYTES_MAX + 1)).is_ok(), "nothing else is queued");
        assert!(matches!(sender.try_send(message(1)), Err(TrySendError::Full(_))));
        assert!(receiver.poll_recv(&mut cx).is_ready());
        for _ in 0..15 {
            assert!(sender.try_send(message(SCHEDULER_QUEUE_BYTES_MAX / 16)).is_ok());
        }
        assert!(matches!(
            sender.try_send(message(SCHEDULER_QUEUE_BYTES_MAX / 8)),
            Err(TrySendError::Full(_))
        ));
        for _ in 0..15 {
            assert!(receiver.poll_recv(&mut cx).is_ready());
        }
        assert_eq!(receiver.bytes.load(Ordering::Relaxed), 0);
    }
}
