//! The scheduler driver as a state machine: a framework's requests, the master's events and the outcome of callbacks in;
//! callbacks, calls and connections out.
//!
//! The rules are those of the Java library's driver. Callbacks run one at a time and in order. Calls are sent one at a time and
//! in order, each once the one before it is answered. A launch that cannot be sent is answered with TASK_LOST. A launch whose
//! delivery is unknown is reconciled after the next subscription. An update is acknowledged after its callback has returned.
//!
//! The shell reads no further record while [`Machine::accepts_records`] is false, so that a framework that is slower than its
//! master costs the master a full socket and not this process its memory.

mod calls;
mod connection;
mod events;
mod interface;
mod requests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kernel_model::{random::SplitMix64, time::Time};
use prost::Message;

use crate::machine::Callback as _;
pub use crate::machine::{CallOutcome, CloseReason, Machine, Status};
use crate::master::Endpoint;
use crate::wire::{self, LaunchedTask};
use calls::Outgoing;
pub use interface::{Callback, Effect, Event, Request};

/// What a driver is created with.
#[derive(Debug, Clone)]
pub struct Config {
    /// An encoded `FrameworkInfo`.
    pub framework: Bytes,
    /// Roles without offers at the start.
    pub suppressed_roles: Vec<String>,
    /// Whether an update is acknowledged when its callback has returned.
    pub implicit_acknowledgements: bool,
    /// Seed of the jitter between connection attempts.
    pub seed: u64,
}

/// Queued callbacks from which on no record is read: an offer cycle of 1,000 agents comes as few records, and a thousand
/// status updates keep a framework busy for longer than reading takes to resume.
const CALLBACKS_READ_MAX: usize = 1_000;

/// Time for what is left to be sent when the driver stops: more than a loaded master takes for a call, less than a user waits.
const CLOSING: Duration = Duration::from_secs(5);

/// What is known of the framework.
#[derive(Debug)]
struct Framework {
    /// The encoded `FrameworkInfo`, without an id that the master has assigned.
    info: Bytes,
    id: Option<String>,
    roles: BTreeSet<String>,
    partition_aware: bool,
}

impl Framework {
    fn new(info: Bytes) -> Self {
        // The Java library has checked the message. What does not decode is left for the master to refuse.
        let parsed = wire::FrameworkInfo::decode(info.clone()).unwrap_or_default();
        let can = |capability| parsed.capabilities.iter().any(|c| c.r#type == Some(capability));
        let roles = if can(wire::MULTI_ROLE) {
            parsed.roles.iter().cloned().collect()
        } else {
            BTreeSet::from([parsed.role.clone().unwrap_or_else(|| "*".to_owned())])
        };
        Framework {
            id: parsed.id.clone().map(|id| id.value).filter(|id| !id.is_empty()),
            roles,
            partition_aware: can(wire::PARTITION_AWARE),
            info,
        }
    }

    /// The encoded `FrameworkInfo` with the assigned id.
    fn encoded(&self) -> Bytes {
        let id = self.id.clone().map(|value| wire::Id { value });
        let mut encoded = self.info.to_vec();
        encoded.extend(wire::FrameworkDefaults { id, ..Default::default() }.encode_to_vec());
        encoded.into()
    }
}

/// How far the connection to a master is.
#[derive(Debug, PartialEq)]
enum Phase {
    NotStarted,
    WaitingForLeader,
    BackingOff {
        until: Time,
    },
    /// From the request until SUBSCRIBED.
    Subscribing {
        stream: u64,
        to: Endpoint,
        stream_id: Option<String>,
        deadline: Time,
    },
    Subscribed(Subscription),
    /// Stopped or aborted, with calls that are still to be sent.
    Closing {
        deadline: Time,
        subscription: Subscription,
    },
    Closed,
}

#[derive(Debug, Clone, PartialEq)]
struct Subscription {
    stream: u64,
    to: Endpoint,
    stream_id: String,
    /// The longest silence of a master that is alive.
    silence_max: Duration,
    deadline: Time,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Driver {
    status: Status,
    framework: Framework,
    implicit_acknowledgements: bool,
    suppressed: BTreeSet<String>,
    constraints: Option<Bytes>,
    /// UPDATE_FRAMEWORK was requested while no master was connected.
    update_pending: bool,
    leader: Option<Endpoint>,
    phase: Phase,
    /// Streams opened so far.
    streams: u64,
    /// Failed attempts since the last subscription.
    attempts: u32,
    /// Redirects followed since the last subscription.
    redirects: u32,
    /// Whether `registered` has been queued; later subscriptions are `reregistered`.
    registered: bool,
    callbacks: VecDeque<Callback>,
    /// The callback in progress.
    running: Option<Callback>,
    outgoing: Outgoing,
    /// Launched tasks whose launch may not have arrived.
    uncertain: Vec<LaunchedTask>,
    random: SplitMix64,
}

impl Driver {
    /// A driver that is not started.
    pub fn new(config: Config) -> Self {
        Driver {
            status: Status::NotStarted,
            framework: Framework::new(config.framework),
            implicit_acknowledgements: config.implicit_acknowledgements,
            suppressed: config.suppressed_roles.into_iter().collect(),
            constraints: None,
            update_pending: false,
            leader: None,
            phase: Phase::NotStarted,
            streams: 0,
            attempts: 0,
            redirects: 0,
            registered: false,
            callbacks: VecDeque::new(),
            running: None,
            outgoing: Outgoing::default(),
            uncertain: Vec::new(),
            random: SplitMix64::new(config.seed),
        }
    }

    fn start(&mut self, effects: &mut Vec<Effect>) {
        if self.status == Status::NotStarted {
            self.status = Status::Running;
            self.phase = Phase::WaitingForLeader;
            effects.push(Effect::Detect);
        }
    }

    fn stop(&mut self, now: Time, failover: bool, effects: &mut Vec<Effect>) {
        match self.status {
            Status::Running => {
                self.status = Status::Stopped;
                self.callbacks.clear();
                if !failover && let Phase::Subscribed(_) = self.phase {
                    self.teardown();
                }
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

    /// Aborts and tells the framework why.
    fn fail(&mut self, now: Time, message: String, effects: &mut Vec<Effect>) {
        self.status = Status::Aborted;
        self.callbacks.clear();
        self.callbacks.push_back(Callback::Error { message });
        self.close(now, effects);
    }

    fn callback_returned(&mut self, now: Time, thrown: Option<String>, effects: &mut Vec<Effect>) {
        let was_paused = !self.accepts_records();
        let Some(callback) = self.running.take() else { return };
        if self.status == Status::Running {
            match thrown {
                Some(thrown) => {
                    let message = format!("Exception in {}: {thrown}", callback.method());
                    self.fail(now, message, effects);
                }
                None if self.implicit_acknowledgements => {
                    if let Callback::StatusUpdate { status } = callback {
                        self.acknowledge(now, status, effects);
                    }
                }
                None => {}
            }
        }
        // The next callback leaves the queue in this step.
        if was_paused
            && self.callbacks.len() <= CALLBACKS_READ_MAX
            && let Phase::Subscribed(subscription) = &mut self.phase
        {
            subscription.deadline = now + subscription.silence_max;
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
}

impl Machine for Driver {
    type Request = Request;
    type Callback = Callback;

    fn step(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start => self.start(&mut effects),
            Event::StartFailed(message) => {
                if self.status == Status::NotStarted {
                    self.fail(now, message, &mut effects);
                }
            }
            Event::Stop { failover } => self.stop(now, failover, &mut effects),
            Event::Abort => self.abort(now, &mut effects),
            Event::Request(request) => {
                if self.status == Status::Running {
                    self.request(now, request, &mut effects);
                }
            }
            Event::Leader(leader) => self.leader_changed(now, leader, &mut effects),
            Event::StreamOpened { stream, id } => self.stream_opened(stream, id),
            Event::Record { stream, record } => self.record(now, stream, record, &mut effects),
            Event::StreamClosed { stream, reason } => self.stream_closed(now, stream, reason, &mut effects),
            Event::CallAnswered { call, outcome } => self.call_answered(now, call, outcome, &mut effects),
            Event::CallbackReturned { thrown } => self.callback_returned(now, thrown, &mut effects),
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
        match &self.phase {
            Phase::BackingOff { until } => Some(*until),
            Phase::Subscribing { deadline, .. } | Phase::Closing { deadline, .. } => Some(*deadline),
            // A stream that is not read tells nothing about its master.
            Phase::Subscribed(subscription) => self.accepts_records().then_some(subscription.deadline),
            Phase::NotStarted | Phase::WaitingForLeader | Phase::Closed => None,
        }
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
