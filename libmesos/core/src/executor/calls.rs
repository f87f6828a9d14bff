//! Calls on their way to the agent: one at a time, in order. Updates are kept until they are acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Driver, Effect, Phase, Request};
use crate::machine::CallOutcome;
use crate::wire::executor::{Call, CallMessage, SOURCE_EXECUTOR, StatusOrigin, Update, call};
use crate::wire::{Id, TaskStatus};

/// Bytes of messages that may wait: an agent that lets more wait does not answer.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes of updates without an acknowledgement: 256 times the largest result that Spark sends in one. While its agent is away, an
/// executor has no more to report than the tasks that it had.
const UNACKNOWLEDGED_BYTES_MAX: usize = 256 << 20;

/// An update that the agent has not acknowledged.
#[derive(Debug)]
pub(super) struct UnacknowledgedUpdate {
    pub(super) uuid: Bytes,
    task_id: String,
    /// The encoded status.
    pub(super) status: Bytes,
    /// The last stream on which it was sent or is about to be.
    pub(super) sent_on: Option<u64>,
}

/// A call that is not answered yet.
#[derive(Debug)]
struct PendingCall {
    /// The task of an update.
    updates: Option<String>,
    body: Bytes,
}

/// The queue of calls of one subscription.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Calls so far.
    calls: u64,
    waiting: VecDeque<PendingCall>,
    /// Of messages.
    waiting_bytes: usize,
    in_flight: Option<(u64, PendingCall)>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Forgets all calls; their answers are not awaited any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.in_flight = None;
    }
}

impl Driver {
    /// A call of this executor.
    pub(super) fn call(&self, kind: i32) -> Call {
        let id = |value: &str| Id { value: value.to_owned() };
        let (executor_id, framework_id) = match &self.config {
            Ok(config) => (id(&config.executor_id), id(&config.framework_id)),
            Err(_) => Default::default(),
        };
        Call { executor_id, framework_id, r#type: Some(kind), ..Default::default() }
    }

    pub(super) fn request(&mut self, now: Time, request: Request, effects: &mut Vec<Effect>) {
        match request {
            Request::Update { status } => self.update(now, status, effects),
            Request::Message { data } => {
                // Messages are best effort: without a subscription they are lost, as with the Java library.
                if let Phase::Subscribed { .. } = self.phase {
                    let mut call = self.call(call::MESSAGE);
                    call.message = Some(CallMessage { data });
                    let body: Bytes = call.encode_to_vec().into();
                    self.outgoing.waiting_bytes += body.len();
                    self.outgoing.waiting.push_back(PendingCall { updates: None, body });
                    if self.outgoing.waiting_bytes > WAITING_BYTES_MAX {
                        self.stream_lost(now, "the agent does not answer its calls".to_owned(), effects);
                    }
                }
            }
        }
    }

    /// Keeps an update, and sends it if there is a subscription.
    fn update(&mut self, now: Time, status: Bytes, effects: &mut Vec<Effect>) {
        let Ok(known) = TaskStatus::decode(status.clone()) else {
            return effects.push(Effect::Log("An update that does not decode is not sent".to_owned()));
        };
        let uuid = self.uuid();
        let agent_id = self.config.as_ref().ok().map(|config| Id { value: config.agent_id.clone() });
        let origin = StatusOrigin {
            agent_id,
            timestamp: Some(now.as_secs_f64()),
            source: Some(SOURCE_EXECUTOR),
            uuid: Some(uuid.clone()),
        };
        let mut encoded = status.to_vec();
        encoded.extend(origin.encode_to_vec());
        self.update_bytes += encoded.len();
        self.updates.push_back(UnacknowledgedUpdate {
            uuid,
            task_id: known.task_id.value,
            status: encoded.into(),
            sent_on: None,
        });
        if self.update_bytes > UNACKNOWLEDGED_BYTES_MAX {
            return self.fail(now, "The agent does not acknowledge updates".to_owned(), effects);
        }
        self.send_updates();
    }

    /// Queues the updates that were not sent with this subscription; those that were come first.
    pub(super) fn send_updates(&mut self) {
        let Phase::Subscribed { stream } = self.phase else { return };
        let template = self.call(call::UPDATE);
        let sent = self.updates.partition_point(|update| update.sent_on == Some(stream));
        for update in self.updates.range_mut(sent..) {
            update.sent_on = Some(stream);
            let body = Call { update: Some(Update { status: update.status.clone() }), ..template.clone() };
            let body = body.encode_to_vec().into();
            self.outgoing.waiting.push_back(PendingCall { updates: Some(update.task_id.clone()), body });
        }
    }

    /// Sends the next call if none awaits its answer.
    pub(super) fn send_next(&mut self, effects: &mut Vec<Effect>) {
        let (Phase::Subscribed { .. } | Phase::Closing { .. }) = self.phase else { return };
        if self.outgoing.in_flight.is_some() {
            return;
        }
        let Ok(config) = &self.config else { return };
        let Some(call) = self.outgoing.waiting.pop_front() else { return };
        if call.updates.is_none() {
            self.outgoing.waiting_bytes -= call.body.len();
        }
        self.outgoing.calls += 1;
        effects.push(Effect::Call {
            call: self.outgoing.calls,
            to: config.endpoint.clone(),
            stream_id: String::new(),
            body: call.body.clone(),
        });
        self.outgoing.in_flight = Some((self.outgoing.calls, call));
    }

    pub(super) fn call_answered(
        &mut self,
        now: Time,
        call: u64,
        outcome: CallOutcome,
        effects: &mut Vec<Effect>,
    ) {
        if self.outgoing.in_flight.as_ref().is_none_or(|(number, _)| *number != call) {
            return; // of a stream that is lost
        }
        match outcome {
            CallOutcome::Accepted => self.outgoing.in_flight = None,
            CallOutcome::Rejected(reason) => {
                let pending = self.outgoing.in_flight.take();
                self.rejected(now, pending.and_then(|(_, call)| call.updates), &reason, effects);
            }
            CallOutcome::Lost(reason) => return self.stream_lost(now, reason, effects),
        }
        if let Phase::Closing { .. } = self.phase
            && self.outgoing.is_empty()
        {
            self.end(effects);
        }
    }

    /// An update that is refused once would be refused forever, and its task would never end.
    fn rejected(&mut self, now: Time, task: Option<String>, reason: &str, effects: &mut Vec<Effect>) {
        match task {
            Some(task) if self.status == super::Status::Running => {
                let message = format!("The agent refused an update of task '{task}': {reason}");
                self.fail(now, message, effects);
            }
            Some(task) => {
                effects.push(Effect::Log(format!("The agent refused an update of task '{task}': {reason}")));
            }
            None => effects.push(Effect::Log(format!("The agent refused a message: {reason}"))),
        }
    }
}
