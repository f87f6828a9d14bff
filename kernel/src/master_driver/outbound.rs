//! The master's outbound queues: bounded, and never waited for. A reader that is too slow is disconnected, and the
//! master is told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use kernel_core::{
    effect::{LinkId, RequestId},
    master::{Answer, Effect, Event, Refusal},
};
use kernel_model::{agent::ToAgent, ids::StreamId, operator};
use tokio::sync::mpsc;

use super::{
    cluster_log::{self, ClusterLog},
    event_queue::EventSender,
    queue::{LinkQueue, OperatorQueue, RepliesSender, ReplySender},
};
use crate::{http::metrics::RegistrarMetrics, task_trace};

/// Most operator streams; a new one closes the oldest, as Mesos does by default.
const OPERATOR_STREAMS_MAX: usize = 1000;

/// Counters since the start, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) registrations: AtomicU64,
    pub(crate) reregistrations: AtomicU64,
    /// Open operator streams.
    pub(crate) operator_streams: AtomicU64,
    /// Calls of schedulers and operators by type.
    pub(crate) calls: Mutex<BTreeMap<&'static str, u64>>,
    /// Refused calls.
    pub(crate) refused: AtomicU64,
    pub(crate) registrar: RegistrarMetrics,
}

impl Counters {
    /// Counts a call.
    pub(crate) fn called(&self, name: &'static str) {
        *self.calls.lock().expect("invariant: no panic while counting").entry(name).or_default() += 1;
    }
}

/// The queues to schedulers, agents and operators, and pending replies.
pub(super) struct OutboundQueues {
    replies: BTreeMap<RequestId, ReplySender>,
    streams: BTreeMap<StreamId, EventSender>,
    links: BTreeMap<LinkId, LinkQueue>,
    operators: VecDeque<OperatorQueue>,
    counters: Arc<Counters>,
    cluster_log: ClusterLog,
}

impl OutboundQueues {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            replies: BTreeMap::new(),
            streams: BTreeMap::new(),
            links: BTreeMap::new(),
            operators: VecDeque::new(),
            counters,
            cluster_log: ClusterLog::default(),
        }
    }

    pub(super) fn add_reply(&mut self, request: RequestId, reply: ReplySender) {
        self.replies.insert(request, reply);
    }

    pub(super) fn open_stream(&mut self, stream: StreamId, sender: EventSender) {
        self.streams.insert(stream, sender);
    }

    /// Removes a stream; returns whether it existed.
    pub(super) fn drop_stream(&mut self, stream: &StreamId) -> bool {
        self.streams.remove(stream).is_some()
    }

    pub(super) fn open_link(&mut self, link: LinkId, sender: LinkQueue) {
        self.links.insert(link, sender);
    }

    pub(super) fn has_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Removes a link; returns whether it existed.
    pub(super) fn drop_link(&mut self, link: LinkId) -> bool {
        self.links.remove(&link).is_some()
    }

    pub(super) fn watch(&mut self, sender: OperatorQueue) {
        self.operators.retain(|sender| !sender.events.is_closed());
        if self.operators.len() >= OPERATOR_STREAMS_MAX {
            self.operators.pop_front();
        }
        self.operators.push_back(sender);
        self.counters.operator_streams.store(self.operators.len() as u64, Ordering::Relaxed);
    }

    /// Returns the results of several calls to a caller in this process, which may have gone meanwhile.
    pub(super) fn answer(&self, replies: RepliesSender, answers: Vec<Result<Answer, Refusal>>) {
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        self.counters.refused.fetch_add(refused as u64, Ordering::Relaxed);
        let _ = replies.send(answers);
    }

    /// Carries out an effect; events that it causes are added to the backlog.
    pub(super) fn carry_out(&mut self, effect: Effect, backlog: &mut VecDeque<Event>) {
        match effect {
            Effect::Reply { request, result } => {
                if result.is_err() {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
                let opens = result == Ok(Answer::Stream);
                if let Some(reply) = self.replies.remove(&request)
                    && reply.send(result).is_err()
                    && opens
                {
                    tracing::debug!("a scheduler left before its subscription was answered");
                }
            }
            Effect::ToScheduler { stream, event } => {
                let Some(sender) = self.streams.get(&stream) else { return };
                task_trace::to_scheduler(&event);
                cluster_log::record_refusal(&event);
                if let Err(error) = sender.try_send(event) {
                    // A client that has left is no fault of anybody, and thousands may leave at once.
                    if let mpsc::error::TrySendError::Full(_) = error {
                        tracing::warn!(%stream, "a scheduler does not read its events: its stream is closed");
                    }
                    self.streams.remove(&stream);
                    backlog.push_back(Event::SchedulerClosed { stream });
                }
            }
            Effect::CloseStream { stream } => {
                self.streams.remove(&stream);
            }
            Effect::ToAgent { link, message } => {
                self.count_admission(&message);
                let Some(sender) = self.links.get(&link) else { return };
                if sender.drops(&message) {
                    return tracing::warn!(
                        link = link.0,
                        "a message of a framework is dropped: its agent does not read"
                    );
                }
                task_trace::to_agent(&message);
                if !sender.try_send(link, message) {
                    tracing::warn!(link = link.0, "an agent does not read: its link is closed");
                    self.links.remove(&link);
                    backlog.push_back(Event::AgentDisconnected { link });
                }
            }
            Effect::CloseLink { link } => {
                self.links.remove(&link);
            }
            Effect::Dropped { framework_id, message } => {
                tracing::warn!(framework = %framework_id, "{message}");
            }
            Effect::Operator(event) => self.tell_operators(event),
        }
    }

    fn count_admission(&self, message: &ToAgent) {
        let counter = match message {
            ToAgent::Registered { .. } => &self.counters.registrations,
            ToAgent::Reregistered { .. } => &self.counters.reregistrations,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn tell_operators(&mut self, event: operator::Event) {
        self.cluster_log.record(&event);
        let before = self.operators.len();
        self.operators.retain(|sender| match sender.try_send(&event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!("an operator does not read its events: its stream is closed");
                false
            }
        });
        if self.operators.len() != before {
            self.counters.operator_streams.store(self.operators.len() as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel_model::scheduler;

    use super::*;

    /// Sends two events to a scheduler's stream; returns the events that the master is told.
    fn after_two_events(sender: mpsc::Sender<scheduler::Event>) -> Vec<Event> {
        let mut queues = OutboundQueues::new(Arc::default());
        let stream = StreamId::from("s");
        queues.open_stream(stream.clone(), EventSender::in_process(sender));
        let mut backlog = VecDeque::new();
        for _ in 0..2 {
            let event = scheduler::Event::Heartbeat;
            queues.carry_out(Effect::ToScheduler { stream: stream.clone(), event }, &mut backlog);
        }
        assert!(!queues.drop_stream(&stream), "the stream is forgotten");
        backlog.into()
    }

    #[test]
    fn a_scheduler_that_left_or_reads_too_slowly_is_closed_once() {
        let closed = [Event::SchedulerClosed { stream: StreamId::from("s") }];
        let (sender, receiver) = mpsc::channel(8);
        drop(receiver);
        assert_eq!(after_two_events(sender), closed);
        let (sender, _receiver) = mpsc::channel(1);
        assert_eq!(after_two_events(sender), closed);
    }
}
