//! Calls on their way to the master: one at a time, in order, within a bound.

use std::collections::VecDeque;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Effect, Library, Phase, Request, error};
use crate::machine::{CallOutcome, Status};
use crate::wire::{CallType, call};

/// Bytes of calls that may wait; as of the scheduler driver.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The queue of calls of one subscription.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Calls so far.
    calls: u64,
    /// With their types.
    waiting: VecDeque<(i32, Bytes)>,
    waiting_bytes: usize,
    /// Number and type.
    in_flight: Option<(u64, i32)>,
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

/// The type of a call.
pub fn call_type(call: &Bytes) -> i32 {
    CallType::decode(call.clone()).ok().and_then(|call| call.r#type).unwrap_or_default()
}

impl Library {
    pub(super) fn request(&mut self, now: Time, request: Request, effects: &mut Vec<Effect>) {
        match request {
            Request::Send(call) => self.send(now, call, effects),
            Request::Reconnect => self.reconnect(now, effects),
        }
    }

    fn send(&mut self, now: Time, call: Bytes, effects: &mut Vec<Effect>) {
        let kind = call_type(&call);
        match (&self.phase, kind) {
            (Phase::Connected { .. }, call::SUBSCRIBE) => self.subscribe(now, call, effects),
            (Phase::Subscribed { .. }, kind) if kind != call::SUBSCRIBE => {
                self.outgoing.waiting_bytes += call.len();
                self.outgoing.waiting.push_back((kind, call));
                if self.outgoing.waiting_bytes > WAITING_BYTES_MAX {
                    self.connection_lost(now, "the master does not answer its calls", effects);
                }
            }
            _ => {
                let name = call::name(kind);
                effects.push(Effect::Log(format!("Dropping {name}: Scheduler is in state {}", self.state())));
            }
        }
    }

    /// The name of the state, as Mesos' library prints it.
    fn state(&self) -> &'static str {
        match self.phase {
            Phase::Reaching { .. } => "CONNECTING",
            Phase::Connected { .. } => "CONNECTED",
            Phase::Subscribing { .. } => "SUBSCRIBING",
            Phase::Subscribed { .. } => "SUBSCRIBED",
            _ => "DISCONNECTED",
        }
    }

    /// Sends the next call if none awaits its answer.
    pub(super) fn send_next(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Subscribed { to, stream_id, .. } = &self.phase else { return };
        if self.outgoing.in_flight.is_some() {
            return;
        }
        let Some((kind, body)) = self.outgoing.waiting.pop_front() else { return };
        self.outgoing.waiting_bytes -= body.len();
        self.outgoing.calls += 1;
        let call = self.outgoing.calls;
        effects.push(Effect::Call { call, to: to.clone(), stream_id: stream_id.clone(), body });
        self.outgoing.in_flight = Some((call, kind));
    }

    pub(super) fn call_answered(
        &mut self,
        now: Time,
        call: u64,
        outcome: CallOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some((_, kind)) = self.outgoing.in_flight.filter(|(number, _)| *number == call) else {
            return; // of a stream that is lost
        };
        self.outgoing.in_flight = None;
        match outcome {
            CallOutcome::Accepted => {}
            CallOutcome::Rejected(reason) if self.status == Status::Running => {
                let message = format!("Received unexpected '{reason}' for {}", call::name(kind));
                self.callbacks.push_back(error(message));
            }
            CallOutcome::Rejected(_) => {}
            CallOutcome::Lost(reason) => self.connection_lost(now, &reason, effects),
        }
    }
}
