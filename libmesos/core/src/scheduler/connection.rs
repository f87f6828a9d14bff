//! The connection to a master: detection, subscription, loss, and the end.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{CLOSING, Callback, CloseReason, Driver, Effect, Machine, Phase, Status, Subscription};
use crate::master::Endpoint;
use crate::wire::{self, call};

/// From the request to SUBSCRIBED: a master under load answers within seconds.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(30);
/// The longest pause before the first retry; each further one doubles it.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// The longest pause between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Redirects that are followed one after the other; masters that disagree longer than this must settle first.
const REDIRECTS_MAX: u32 = 5;
/// Mesos' default for the interval between heartbeats.
const HEARTBEAT_DEFAULT: f64 = 15.0;
/// A master is lost after so many missed heartbeats.
const HEARTBEATS_MISSED_MAX: f64 = 5.0;
/// Heartbeat intervals outside of this are taken for the nearest end (seconds).
const HEARTBEAT_RANGE: (f64, f64) = (0.1, 3600.0);

impl Driver {
    pub(super) fn leader_changed(&mut self, now: Time, leader: Option<Endpoint>, effects: &mut Vec<Effect>) {
        if self.status != Status::Running || self.leader == leader {
            return;
        }
        self.leader = leader;
        // Without a leader an open stream is kept: a master that has lost its office closes it.
        let Some(leader) = self.leader.clone() else {
            if let Phase::BackingOff { .. } = self.phase {
                self.phase = Phase::WaitingForLeader;
            }
            return;
        };
        let connected_to = match &self.phase {
            Phase::Subscribing { to, .. } => Some(to),
            Phase::Subscribed(subscription) => Some(&subscription.to),
            _ => None,
        };
        if connected_to == Some(&leader) {
            return;
        }
        self.lose_subscription(now, effects);
        self.attempts = 0;
        self.redirects = 0;
        self.connect(now, leader, effects);
    }

    fn connect(&mut self, now: Time, to: Endpoint, effects: &mut Vec<Effect>) {
        self.streams += 1;
        effects.push(Effect::Connect { stream: self.streams, to: to.clone(), body: self.subscribe_call() });
        self.phase =
            Phase::Subscribing { stream: self.streams, to, stream_id: None, deadline: now + SUBSCRIBE_MAX };
    }

    fn subscribe_call(&self) -> Bytes {
        let call = wire::Call {
            framework_id: self.framework.id.clone().map(|value| wire::Id { value }),
            r#type: Some(call::SUBSCRIBE),
            subscribe: Some(self.subscription_content()),
            ..Default::default()
        };
        call.encode_to_vec().into()
    }

    /// The members of SUBSCRIBE and UPDATE_FRAMEWORK.
    pub(super) fn subscription_content(&self) -> wire::Subscribe {
        wire::Subscribe {
            framework_info: self.framework.encoded(),
            suppressed_roles: self.suppressed.iter().cloned().collect(),
            offer_constraints: self.constraints.clone(),
        }
    }

    pub(super) fn stream_opened(&mut self, stream: u64, id: String) {
        if let Phase::Subscribing { stream: current, stream_id, .. } = &mut self.phase
            && *current == stream
        {
            *stream_id = Some(id);
        }
    }

    /// SUBSCRIBED has arrived on the stream that is being opened.
    pub(super) fn subscribed(&mut self, now: Time, subscribed: wire::Subscribed, effects: &mut Vec<Effect>) {
        let Phase::Subscribing { stream, to, stream_id, .. } = &self.phase else { return };
        let silence_max = silence_max(subscribed.heartbeat_interval_seconds);
        self.phase = Phase::Subscribed(Subscription {
            stream: *stream,
            to: to.clone(),
            // A master without stream ids takes calls without one.
            stream_id: stream_id.clone().unwrap_or_default(),
            silence_max,
            deadline: now + silence_max,
        });
        self.attempts = 0;
        self.redirects = 0;
        let framework_id: Bytes = subscribed.framework_id.encode_to_vec().into();
        self.framework.id = Some(subscribed.framework_id.value);
        let master = subscribed.master_info.unwrap_or_default();
        self.callbacks.push_back(if self.registered {
            Callback::Reregistered { master }
        } else {
            Callback::Registered { framework_id, master }
        });
        self.registered = true;
        if std::mem::take(&mut self.update_pending) {
            self.send_update_framework(now, effects);
        }
        self.reconcile_uncertain(now, effects);
    }

    pub(super) fn stream_closed(
        &mut self,
        now: Time,
        stream: u64,
        reason: CloseReason,
        effects: &mut Vec<Effect>,
    ) {
        if self.current_stream() != Some(stream) {
            return;
        }
        match reason {
            CloseReason::Lost(reason) => self.stream_lost(now, reason, effects),
            CloseReason::Refused(message) if self.status == Status::Running => {
                self.fail(now, message, effects);
            }
            CloseReason::Redirected(to) if self.status == Status::Running => {
                self.redirects += 1;
                if self.redirects > REDIRECTS_MAX {
                    return self.stream_lost(now, "too many redirects".to_owned(), effects);
                }
                self.lose_subscription(now, effects);
                self.connect(now, to, effects);
            }
            CloseReason::Refused(_) | CloseReason::Redirected(_) => self.end(effects),
        }
    }

    /// The stream that is open or being opened.
    pub(super) fn current_stream(&self) -> Option<u64> {
        match &self.phase {
            Phase::Subscribing { stream, .. } => Some(*stream),
            Phase::Subscribed(subscription) | Phase::Closing { subscription, .. } => {
                Some(subscription.stream)
            }
            _ => None,
        }
    }

    /// The connection has failed: try again later.
    pub(super) fn stream_lost(&mut self, now: Time, reason: String, effects: &mut Vec<Effect>) {
        if let Phase::Closing { .. } = self.phase {
            return self.end(effects);
        }
        effects.push(Effect::Log(format!("No connection to the master: {reason}")));
        self.lose_subscription(now, effects);
        if self.leader.is_none() {
            self.phase = Phase::WaitingForLeader;
            return;
        }
        // Half of the pause is random, so that the frameworks of a master that restarts do not come all at once.
        let longest = BACKOFF_FIRST.saturating_mul(1 << self.attempts.min(16)).min(BACKOFF_MAX);
        self.attempts += 1;
        let half = u64::try_from(longest.as_nanos() / 2).unwrap_or(u64::MAX);
        let pause = Duration::from_nanos(half + self.random.next_u64() % (half + 1));
        self.phase = Phase::BackingOff { until: now + pause };
    }

    /// Leaves the current stream, if there is one, and tells the framework.
    fn lose_subscription(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if let Some(stream) = self.current_stream() {
            effects.push(Effect::Disconnect { stream });
        }
        if let Phase::Subscribed(_) = self.phase {
            self.callbacks.push_back(Callback::Disconnected);
            self.drop_calls(now);
        }
        self.phase = Phase::WaitingForLeader;
    }

    pub(super) fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &self.phase {
            Phase::BackingOff { .. } => match self.leader.clone() {
                Some(leader) => self.connect(now, leader, effects),
                None => self.phase = Phase::WaitingForLeader,
            },
            Phase::Subscribing { .. } => {
                self.stream_lost(now, "no answer to SUBSCRIBE".to_owned(), effects);
            }
            Phase::Subscribed(_) => self.stream_lost(now, "no heartbeat".to_owned(), effects),
            Phase::Closing { .. } => self.end(effects),
            Phase::NotStarted | Phase::WaitingForLeader | Phase::Closed => {}
        }
    }

    /// Ends the connection once the waiting calls are sent.
    pub(super) fn close(&mut self, now: Time, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Subscribed(subscription) if !self.outgoing.is_empty() => {
                self.phase = Phase::Closing { deadline: now + CLOSING, subscription: subscription.clone() };
            }
            Phase::Closing { .. } | Phase::Closed => {}
            _ => self.end(effects),
        }
    }

    /// Ends the connection now.
    pub(super) fn end(&mut self, effects: &mut Vec<Effect>) {
        if let Some(stream) = self.current_stream() {
            effects.push(Effect::Disconnect { stream });
        }
        self.outgoing = super::Outgoing::default();
        self.phase = Phase::Closed;
        effects.push(Effect::Closed);
    }
}

/// The longest silence of a live master for an announced interval (seconds).
pub(super) fn silence_max(interval: Option<f64>) -> Duration {
    let interval = interval.filter(|seconds| seconds.is_finite()).unwrap_or(HEARTBEAT_DEFAULT);
    Duration::from_secs_f64(interval.clamp(HEARTBEAT_RANGE.0, HEARTBEAT_RANGE.1) * HEARTBEATS_MISSED_MAX)
}
