//! Calls on their way to the master: one at a time, in order, within a bound.

use std::collections::VecDeque;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{CallOutcome, Callback, Driver, Effect, Phase};
use crate::wire::{self, LaunchedTask, call, status};

/// Bytes of calls that may wait: 64 MiB are some 50,000 launches. A master that lets more wait does not answer.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A call that is not answered yet.
#[derive(Debug)]
struct PendingCall {
    number: u64,
    body: Bytes,
    /// The tasks that it launches.
    launches: Vec<LaunchedTask>,
}

/// The queue of calls of one subscription.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Calls so far.
    calls: u64,
    waiting: VecDeque<PendingCall>,
    waiting_bytes: usize,
    in_flight: Option<PendingCall>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Empties the queue: the launches that were not sent, and those that may have arrived.
    fn take(&mut self) -> (Vec<LaunchedTask>, Vec<LaunchedTask>) {
        self.waiting_bytes = 0;
        let unsent = self.waiting.drain(..).flat_map(|call| call.launches).collect();
        let uncertain = self.in_flight.take().map(|call| call.launches).unwrap_or_default();
        (unsent, uncertain)
    }
}

impl Driver {
    /// Queues a call of the subscribed framework. The caller has checked that it is subscribed.
    pub(super) fn enqueue(
        &mut self,
        now: Time,
        call: wire::Call,
        launches: Vec<LaunchedTask>,
        effects: &mut Vec<Effect>,
    ) {
        self.push_call(call, launches);
        if self.outgoing.waiting_bytes > WAITING_BYTES_MAX {
            self.stream_lost(now, "the master does not answer its calls".to_owned(), effects);
        }
    }

    fn push_call(&mut self, mut call: wire::Call, launches: Vec<LaunchedTask>) {
        call.framework_id = self.framework.id.clone().map(|value| wire::Id { value });
        let body: Bytes = call.encode_to_vec().into();
        self.outgoing.calls += 1;
        self.outgoing.waiting_bytes += body.len();
        self.outgoing.waiting.push_back(PendingCall { number: self.outgoing.calls, body, launches });
    }

    /// Queues TEARDOWN after everything else.
    pub(super) fn teardown(&mut self) {
        self.push_call(wire::Call { r#type: Some(call::TEARDOWN), ..Default::default() }, Vec::new());
    }

    /// Sends the next call if none awaits its answer.
    pub(super) fn send_next(&mut self, effects: &mut Vec<Effect>) {
        let (Phase::Subscribed(subscription) | Phase::Closing { subscription, .. }) = &self.phase else {
            return;
        };
        if self.outgoing.in_flight.is_some() {
            return;
        }
        let Some(call) = self.outgoing.waiting.pop_front() else { return };
        self.outgoing.waiting_bytes -= call.body.len();
        effects.push(Effect::Call {
            call: call.number,
            to: subscription.to.clone(),
            stream_id: subscription.stream_id.clone(),
            body: call.body.clone(),
        });
        self.outgoing.in_flight = Some(call);
    }

    pub(super) fn call_answered(
        &mut self,
        now: Time,
        call: u64,
        outcome: CallOutcome,
        effects: &mut Vec<Effect>,
    ) {
        if self.outgoing.in_flight.as_ref().is_none_or(|pending| pending.number != call) {
            return; // of a stream that is lost
        }
        match outcome {
            CallOutcome::Accepted => self.outgoing.in_flight = None,
            CallOutcome::Rejected(reason) => {
                let launches = self.outgoing.in_flight.take().map(|call| call.launches).unwrap_or_default();
                let message = format!("The master refused the launch: {reason}");
                self.lose_tasks(now, launches, &message, status::REASON_TASK_INVALID);
            }
            CallOutcome::Lost(reason) => return self.stream_lost(now, reason, effects),
        }
        if let Phase::Closing { .. } = self.phase
            && self.outgoing.is_empty()
        {
            self.end(effects);
        }
    }

    /// Gives up all calls of a subscription that is lost.
    pub(super) fn drop_calls(&mut self, now: Time) {
        let (unsent, uncertain) = self.outgoing.take();
        self.lose_tasks(now, unsent, "Master disconnected", status::REASON_MASTER_DISCONNECTED);
        self.uncertain.extend(uncertain);
    }

    /// Tells the framework that tasks were not launched, as the Java driver does: without a uuid, so that nothing is
    /// acknowledged.
    pub(super) fn lose_tasks(&mut self, now: Time, tasks: Vec<LaunchedTask>, message: &str, reason: i32) {
        let state = if self.framework.partition_aware { status::TASK_DROPPED } else { status::TASK_LOST };
        if self.status != super::Status::Running {
            return;
        }
        for task in tasks {
            let lost = wire::TaskStatus {
                task_id: task.task_id.unwrap_or_default(),
                state,
                message: Some(message.to_owned()),
                agent_id: task.agent_id,
                timestamp: Some(now.as_secs_f64()),
                source: Some(status::SOURCE_MASTER),
                reason: Some(reason),
                uuid: None,
            };
            self.callbacks.push_back(Callback::StatusUpdate { status: lost.encode_to_vec().into() });
        }
    }

    /// Asks for the states of tasks whose launch may not have arrived.
    pub(super) fn reconcile_uncertain(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let tasks: Vec<wire::ReconcileTask> = std::mem::take(&mut self.uncertain)
            .into_iter()
            .filter_map(|task| Some(wire::ReconcileTask { task_id: task.task_id?, agent_id: task.agent_id }))
            .collect();
        if !tasks.is_empty() {
            let call = wire::Call {
                r#type: Some(call::RECONCILE),
                reconcile: Some(wire::Reconcile { tasks }),
                ..Default::default()
            };
            self.enqueue(now, call, Vec::new(), effects);
        }
    }
}
