//! The scheduler library of the v1 API (`V1Mesos` and `V0Mesos` of the Java library) as a state machine: a framework's calls, the
//! master's events and the outcome of callbacks in; callbacks, calls and connections out.
//!
//! The framework writes and reads the messages of the API itself. The library finds the master, tells when it can be reached,
//! and takes calls then: SUBSCRIBE first, which the framework sends after each `connected`, and others once that is answered.
//! Calls at other times are dropped. Calls are sent one at a time and in order, each once the one before it is answered. Whether a
//! master is silent for too long is the framework's to judge, which may ask for a new connection.

mod calls;
mod connection;
mod interface;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kernel_model::{random::SplitMix64, time::Time};
use prost::Message;

use crate::machine::{Callback as _, Machine, Status};
use crate::master::Endpoint;
use crate::wire::{self, event};
use calls::Outgoing;
pub use calls::call_type;
pub use interface::{Callback, Effect, Event, Request};

/// Queued callbacks from which on no record is read; as of the scheduler driver.
const CALLBACKS_READ_MAX: usize = 1_000;

/// How far the connection to a master is.
#[derive(Debug, PartialEq)]
enum Phase {
    NotStarted,
    WaitingForLeader,
    Pausing {
        until: Time,
        to: Endpoint,
    },
    /// Until it is known whether the master takes connections.
    Reaching {
        stream: u64,
        to: Endpoint,
        deadline: Time,
    },
    /// The framework may subscribe.
    Connected {
        to: Endpoint,
    },
    Subscribing {
        stream: u64,
        to: Endpoint,
        deadline: Time,
    },
    Subscribed {
        stream: u64,
        to: Endpoint,
        stream_id: String,
    },
    Closed,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Library {
    status: Status,
    /// The encoded `FrameworkInfo` with which every subscription is made, as `V0Mesos` wants it; otherwise it is the framework's
    /// in each SUBSCRIBE.
    framework: Option<Bytes>,
    /// The id that the master has assigned to that framework.
    framework_id: Option<wire::Id>,
    leader: Option<Endpoint>,
    phase: Phase,
    /// Streams opened so far.
    streams: u64,
    callbacks: VecDeque<Callback>,
    /// The callback in progress.
    running: Option<Callback>,
    outgoing: Outgoing,
    random: SplitMix64,
}

impl Library {
    /// A library that is not started. The seed spreads connection attempts.
    pub fn new(framework: Option<Bytes>, seed: u64) -> Self {
        Library {
            status: Status::NotStarted,
            framework,
            framework_id: None,
            leader: None,
            phase: Phase::NotStarted,
            streams: 0,
            callbacks: VecDeque::new(),
            running: None,
            outgoing: Outgoing::default(),
            random: SplitMix64::new(seed),
        }
    }

    /// Whether no call waits for its answer.
    pub fn is_drained(&self) -> bool {
        self.outgoing.is_empty()
    }

    fn start(&mut self, effects: &mut Vec<Effect>) {
        if self.status == Status::NotStarted {
            self.status = Status::Running;
            self.phase = Phase::WaitingForLeader;
            effects.push(Effect::Detect);
        }
    }

    fn end(&mut self, status: Status, effects: &mut Vec<Effect>) {
        if !matches!(self.status, Status::Running | Status::NotStarted) {
            return;
        }
        self.status = status;
        self.callbacks.clear();
        self.leave_stream(effects);
        self.phase = Phase::Closed;
        effects.push(Effect::Closed);
    }

    /// Ends the library and tells the framework why.
    fn fail(&mut self, message: String, effects: &mut Vec<Effect>) {
        self.end(Status::Aborted, effects);
        self.callbacks.push_back(error(message));
    }

    fn record(&mut self, stream: u64, record: Bytes) {
        let Phase::Subscribed { stream: current, .. } = &self.phase else { return };
        if *current != stream {
            return;
        }
        if self.framework.is_some()
            && let Ok(wire::Event { r#type: Some(event::SUBSCRIBED), subscribed: Some(subscribed), .. }) =
                wire::Event::decode(record.clone())
        {
            self.framework_id = Some(subscribed.framework_id);
        }
        self.callbacks.push_back(Callback::Received { event: record });
    }

    fn callback_returned(&mut self, thrown: Option<String>, effects: &mut Vec<Effect>) {
        let Some(callback) = self.running.take() else { return };
        if let Some(thrown) = thrown
            && self.status == Status::Running
        {
            self.fail(format!("Exception in {}: {thrown}", callback.method()), effects);
        }
    }

    /// Starts the next callback if none is in progress.
    fn call_next(&mut self, effects: &mut Vec<Effect>) {
        if self.running.is_none()
            && let Some(callback) = self.callbacks.pop_front()
        {
            self.running = Some(callback.clone());
            effects.push(Effect::Callback(callback));
        }
    }

    /// A random part of a time.
    fn part_of(&mut self, longest: Duration) -> Duration {
        let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.next_u64() % nanoseconds.saturating_add(1))
    }
}

/// An event ERROR of the library itself.
fn error(message: String) -> Callback {
    let event = wire::Event {
        r#type: Some(event::ERROR),
        error: Some(wire::Error { message }),
        ..Default::default()
    };
    Callback::Received { event: event.encode_to_vec().into() }
}

impl Machine for Library {
    type Request = Request;
    type Callback = Callback;

    fn step(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start => self.start(&mut effects),
            Event::StartFailed(message) => {
                if self.status == Status::NotStarted {
                    self.fail(message, &mut effects);
                }
            }
            Event::Stop { .. } => self.end(Status::Stopped, &mut effects),
            Event::Abort => self.end(Status::Aborted, &mut effects),
            Event::Request(request) => self.request(now, request, &mut effects),
            Event::Leader(leader) => self.leader_changed(now, leader, &mut effects),
            Event::StreamOpened { stream, id } => self.stream_opened(stream, id),
            Event::Record { stream, record } => self.record(stream, record),
            Event::StreamClosed { stream, reason } => self.stream_closed(now, stream, reason, &mut effects),
            Event::CallAnswered { call, outcome } => self.call_answered(now, call, outcome, &mut effects),
            Event::CallbackReturned { thrown } => self.callback_returned(thrown, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.send_next(&mut effects);
        self.call_next(&mut effects);
        effects
    }

    fn status(&self) -> Status {
        self.status
    }

    fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn is_finished(&self) -> bool {
        self.is_closed() && self.callbacks.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.is_finished() && self.running.is_none()
    }

    fn accepts_records(&self) -> bool {
        self.callbacks.len() < CALLBACKS_READ_MAX
    }

    fn next_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Pausing { until, .. } => Some(*until),
            Phase::Reaching { deadline, .. } | Phase::Subscribing { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
