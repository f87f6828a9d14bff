//! The executor driver as a state machine: an executor's requests, the agent's events and the outcome of callbacks in;
//! callbacks, calls and connections out.
//!
//! The rules are those of the Java library's driver. Callbacks run one at a time and in order. Calls are sent one at a time and
//! in order. An update is kept until the agent has acknowledged it, and sent again with each subscription. With checkpoints the
//! driver waits for an agent that is away, and tells it which tasks have arrived; without, or if the agent stays away, the
//! executor is told to shut down. A grace period after that order the process group is killed, whatever the executor does.

mod calls;
mod connection;
mod environment;
mod events;
mod interface;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kernel_model::{random::SplitMix64, time::Time};

use crate::machine::{Callback as _, Machine, Status};
use crate::wire::executor::Task;
use calls::{Outgoing, UnacknowledgedUpdate};
pub use environment::{Config, duration};
pub use interface::{Callback, Effect, Event, Request};

/// Queued callbacks from which on no record is read: a thousand launches keep an executor busy for longer than reading takes to
/// resume.
const CALLBACKS_READ_MAX: usize = 1_000;

/// How far the connection to the agent is.
#[derive(Debug, PartialEq)]
enum Phase {
    NotStarted,
    BackingOff {
        until: Time,
    },
    /// From the request until SUBSCRIBED.
    Subscribing {
        stream: u64,
        deadline: Time,
    },
    Subscribed {
        stream: u64,
    },
    /// Told to shut down, and without an agent: it is not looked for any more.
    Deserted,
    /// Stopped or aborted, with calls that are still to be sent.
    Closing {
        stream: u64,
        deadline: Time,
    },
    Closed,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Driver {
    status: Status,
    config: Result<Config, String>,
    phase: Phase,
    /// Streams opened so far.
    streams: u64,
    /// When an agent that is away is given up.
    recovery_deadline: Option<Time>,
    /// Whether `registered` has been queued; later subscriptions are `reregistered`.
    registered: bool,
    /// Whether the executor is told to shut down; nothing else is told it after that.
    shutting_down: bool,
    callbacks: VecDeque<Callback>,
    /// The callback in progress.
    running: Option<Callback>,
    outgoing: Outgoing,
    /// Tasks that have arrived and of which the agent has acknowledged no update.
    tasks: BTreeMap<String, Task>,
    /// In the order in which the executor has sent them.
    updates: VecDeque<UnacknowledgedUpdate>,
    update_bytes: usize,
    random: SplitMix64,
}

impl Driver {
    /// A driver that is not started. One without a configuration aborts when it is. The seed spreads connection attempts and
    /// makes uuids, so it must differ between drivers.
    pub fn new(config: Result<Config, String>, seed: u64) -> Self {
        Driver {
            status: Status::NotStarted,
            config,
            phase: Phase::NotStarted,
            streams: 0,
            recovery_deadline: None,
            registered: false,
            shutting_down: false,
            callbacks: VecDeque::new(),
            running: None,
            outgoing: Outgoing::default(),
            tasks: BTreeMap::new(),
            updates: VecDeque::new(),
            update_bytes: 0,
            random: SplitMix64::new(seed),
        }
    }

    fn start(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.status != Status::NotStarted {
            return;
        }
        match &self.config {
            Ok(_) => {
                self.status = Status::Running;
                self.connect(now, effects);
            }
            Err(message) => self.fail(now, message.clone(), effects),
        }
    }

    fn stop(&mut self, now: Time, effects: &mut Vec<Effect>) {
        match self.status {
            Status::Running => {
                self.status = Status::Stopped;
                self.callbacks.clear();
                self.close(now, effects);
            }
            Status::Aborted => self.status = Status::Stopped,
            Status::NotStarted | Status::Stopped => {}
        }
    }

    fn abort(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.status == Status::Running {
            self.status = Status::Aborted;
            self.callbacks.clear();
            self.close(now, effects);
        }
    }

    /// Aborts and tells the executor why.
    fn fail(&mut self, now: Time, message: String, effects: &mut Vec<Effect>) {
        self.status = Status::Aborted;
        self.callbacks.clear();
        self.callbacks.push_back(Callback::Error { message });
        self.close(now, effects);
    }

    /// Tells the executor to shut down, after what it is still to be told, and arranges its kill.
    fn shut_down(&mut self, effects: &mut Vec<Effect>) {
        if self.shutting_down || self.status != Status::Running {
            return;
        }
        self.shutting_down = true;
        self.recovery_deadline = None;
        self.callbacks.push_back(Callback::Shutdown);
        if let Ok(config) = &self.config
            && !config.local
        {
            effects.push(Effect::KillGroup { after: config.shutdown_grace });
        }
    }

    fn callback_returned(&mut self, now: Time, thrown: Option<String>, effects: &mut Vec<Effect>) {
        let Some(callback) = self.running.take() else { return };
        if let Some(thrown) = thrown
            && self.status == Status::Running
        {
            self.fail(now, format!("Exception in {}: {thrown}", callback.method()), effects);
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

    /// A random UUID of version 4.
    fn uuid(&mut self) -> Bytes {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.random.next_u64().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Bytes::copy_from_slice(&bytes)
    }

    /// A random part of a time.
    fn part_of(&mut self, longest: Duration) -> Duration {
        let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random.next_u64() % nanoseconds.saturating_add(1))
    }
}

impl Machine for Driver {
    type Request = Request;
    type Callback = Callback;

    fn step(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start => self.start(now, &mut effects),
            Event::StartFailed(message) => {
                if self.status == Status::NotStarted {
                    self.fail(now, message, &mut effects);
                }
            }
            Event::Stop { .. } => self.stop(now, &mut effects),
            Event::Abort => self.abort(now, &mut effects),
            Event::Request(request) => {
                if self.status == Status::Running {
                    self.request(now, request, &mut effects);
                }
            }
            Event::Record { stream, record } => self.record(now, stream, record, &mut effects),
            Event::StreamClosed { stream, reason } => self.stream_closed(now, stream, reason, &mut effects),
            Event::CallAnswered { call, outcome } => self.call_answered(now, call, outcome, &mut effects),
            Event::CallbackReturned { thrown } => self.callback_returned(now, thrown, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
            // The agent is known, and its streams have no ids.
            Event::Leader(_) | Event::StreamOpened { .. } => {}
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
        let failing = matches!(self.running, Some(Callback::Error { .. })) || !self.callbacks.is_empty();
        self.is_closed() && !failing
    }

    fn is_idle(&self) -> bool {
        self.is_finished() && self.running.is_none()
    }

    fn accepts_records(&self) -> bool {
        self.callbacks.len() < CALLBACKS_READ_MAX
    }

    fn next_deadline(&self) -> Option<Time> {
        let of_phase = match &self.phase {
            Phase::BackingOff { until } => Some(*until),
            Phase::Subscribing { deadline, .. } | Phase::Closing { deadline, .. } => Some(*deadline),
            Phase::NotStarted | Phase::Subscribed { .. } | Phase::Deserted | Phase::Closed => None,
        };
        of_phase.into_iter().chain(self.recovery_deadline).min()
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
