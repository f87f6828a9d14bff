//! The connection to a master: detection, reachability, subscription and loss.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Callback, Effect, Library, Phase, error};
use crate::machine::{CloseReason, Status};
use crate::master::Endpoint;
use crate::wire::{self, call};

/// The longest pause before a connection, Mesos' `--connection_delay_max`: frameworks do not come to a new master all at once.
const CONNECTION_DELAY_MAX: Duration = Duration::from_secs(2);
/// How long a master may take to accept a connection.
const REACH_MAX: Duration = Duration::from_secs(10);
/// How long a master may take to begin its answer to SUBSCRIBE: one under load answers within seconds.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(30);

impl Library {
    pub(super) fn leader_changed(&mut self, now: Time, leader: Option<Endpoint>, effects: &mut Vec<Effect>) {
        if self.status != Status::Running || self.leader == leader {
            return;
        }
        self.leader = leader;
        let connected_to = match &self.phase {
            Phase::Connected { to } | Phase::Subscribing { to, .. } | Phase::Subscribed { to, .. } => {
                Some(to)
            }
            _ => None,
        };
        if connected_to.is_none() || connected_to != self.leader.as_ref() {
            self.disconnect(now, self.leader.clone(), effects);
        }
    }

    /// Leaves the master, if there is one, and goes to another, or waits for one.
    fn disconnect(&mut self, now: Time, to: Option<Endpoint>, effects: &mut Vec<Effect>) {
        self.leave_stream(effects);
        if let Phase::Connected { .. } | Phase::Subscribing { .. } | Phase::Subscribed { .. } = self.phase {
            self.callbacks.push_back(Callback::Disconnected);
        }
        self.phase = match to {
            Some(to) => Phase::Pausing { until: now + self.part_of(CONNECTION_DELAY_MAX), to },
            None => Phase::WaitingForLeader,
        };
    }

    /// Closes the current stream, if there is one; calls that wait are lost.
    pub(super) fn leave_stream(&mut self, effects: &mut Vec<Effect>) {
        if let Some(stream) = self.current_stream() {
            effects.push(Effect::Disconnect { stream });
        }
        self.outgoing.clear();
    }

    pub(super) fn current_stream(&self) -> Option<u64> {
        match &self.phase {
            Phase::Reaching { stream, .. }
            | Phase::Subscribing { stream, .. }
            | Phase::Subscribed { stream, .. } => Some(*stream),
            _ => None,
        }
    }

    /// The connection has failed: try again later.
    pub(super) fn connection_lost(&mut self, now: Time, reason: &str, effects: &mut Vec<Effect>) {
        effects.push(Effect::Log(format!("No connection to the master: {reason}")));
        self.disconnect(now, self.leader.clone(), effects);
    }

    /// `reconnect`, which is ignored without a master.
    pub(super) fn reconnect(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if let Phase::Connected { .. } | Phase::Subscribing { .. } | Phase::Subscribed { .. } = self.phase {
            self.connection_lost(now, "the scheduler wants another one", effects);
        }
    }

    /// Subscribes with the framework's call.
    pub(super) fn subscribe(&mut self, now: Time, body: Bytes, effects: &mut Vec<Effect>) {
        let Phase::Connected { to } = &self.phase else { return };
        let to = to.clone();
        let body = self.own_subscription().unwrap_or(body);
        self.streams += 1;
        let stream = self.streams;
        effects.push(Effect::Connect { stream, to: to.clone(), body });
        self.phase = Phase::Subscribing { stream, to, deadline: now + SUBSCRIBE_MAX };
    }

    /// SUBSCRIBE with the `FrameworkInfo` of a `V0Mesos`, and the id that it has been assigned.
    fn own_subscription(&self) -> Option<Bytes> {
        let mut info = self.framework.clone()?.to_vec();
        let known = wire::FrameworkInfo::decode(info.as_slice()).unwrap_or_default();
        let framework_id = self.framework_id.clone().or(known.id).filter(|id| !id.value.is_empty());
        let id = wire::FrameworkDefaults { id: framework_id.clone(), ..Default::default() };
        info.extend(id.encode_to_vec());
        let subscribe = wire::Subscribe { framework_info: info.into(), ..Default::default() };
        let call = wire::Call {
            framework_id,
            r#type: Some(call::SUBSCRIBE),
            subscribe: Some(subscribe),
            ..Default::default()
        };
        Some(call.encode_to_vec().into())
    }

    pub(super) fn stream_opened(&mut self, stream: u64, id: String) {
        if self.current_stream() != Some(stream) {
            return;
        }
        match &self.phase {
            Phase::Reaching { to, .. } => {
                self.phase = Phase::Connected { to: to.clone() };
                self.callbacks.push_back(Callback::Connected);
            }
            Phase::Subscribing { to, .. } => {
                self.phase = Phase::Subscribed { stream, to: to.clone(), stream_id: id };
            }
            _ => {}
        }
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
            CloseReason::Lost(reason) => self.connection_lost(now, &reason, effects),
            CloseReason::Redirected(to) => self.disconnect(now, Some(to), effects),
            CloseReason::Refused(message) => match &self.phase {
                Phase::Subscribing { to, .. } => {
                    // The framework may try again, with other content.
                    let to = to.clone();
                    self.leave_stream(effects);
                    self.phase = Phase::Connected { to };
                    self.callbacks.push_back(error(message));
                }
                _ => self.connection_lost(now, &message, effects),
            },
        }
    }

    pub(super) fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Pausing { until, to } if *until <= now => {
                let to = to.clone();
                self.streams += 1;
                let stream = self.streams;
                effects.push(Effect::Reach { stream, to: to.clone() });
                self.phase = Phase::Reaching { stream, to, deadline: now + REACH_MAX };
            }
            Phase::Reaching { deadline, .. } if *deadline <= now => {
                self.connection_lost(now, "it does not accept connections", effects);
            }
            Phase::Subscribing { deadline, .. } if *deadline <= now => {
                self.connection_lost(now, "no answer to SUBSCRIBE", effects);
            }
            _ => {}
        }
    }
}
