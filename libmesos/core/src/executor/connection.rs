//! The connection to the agent: subscription, loss, recovery, and the end.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Callback, Driver, Effect, Phase, Status};
use crate::machine::CloseReason;
use crate::wire::executor::{Subscribe, Subscribed, Update, call};

/// From the request to SUBSCRIBED: an agent that recovers answers within seconds.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(30);
/// The shortest pause between attempts, so that an agent that refuses each one at once is not asked in a loop.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// How long the first subscription may take without checkpoints: after that (Mesos' `--executor_registration_timeout`) the agent
/// kills the executor.
const FIRST_SUBSCRIPTION_MAX: Duration = Duration::from_secs(60);
/// Time for what is left to be sent when the driver stops: more than a loaded agent takes for a call, and no more than the grace
/// period of a shutdown.
const CLOSING: Duration = Duration::from_secs(5);
/// Updates that SUBSCRIBE carries; those beyond follow as calls of their own, because agents limit the size of a request.
const SUBSCRIBE_BYTES_MAX: usize = 8 << 20;

impl Driver {
    pub(super) fn connect(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let Ok(to) = self.config.as_ref().map(|config| config.endpoint.clone()) else { return };
        self.streams += 1;
        let stream = self.streams;
        effects.push(Effect::Connect { stream, to, body: self.subscribe_call(stream) });
        self.phase = Phase::Subscribing { stream, deadline: now + SUBSCRIBE_MAX };
    }

    fn subscribe_call(&mut self, stream: u64) -> Bytes {
        let mut carried = 0;
        let mut unacknowledged_updates = Vec::new();
        for update in &mut self.updates {
            carried += update.status.len();
            if carried > SUBSCRIBE_BYTES_MAX {
                break;
            }
            update.sent_on = Some(stream);
            unacknowledged_updates.push(Update { status: update.status.clone() });
        }
        let unacknowledged_tasks = self.tasks.values().cloned().collect();
        let mut subscribe = self.call(call::SUBSCRIBE);
        subscribe.subscribe = Some(Subscribe { unacknowledged_tasks, unacknowledged_updates });
        subscribe.encode_to_vec().into()
    }

    /// SUBSCRIBED has arrived on the stream that is being opened.
    pub(super) fn subscribed(&mut self, subscribed: Subscribed) {
        let Phase::Subscribing { stream, .. } = self.phase else { return };
        self.phase = Phase::Subscribed { stream };
        self.recovery_deadline = None;
        let Subscribed { executor_info, framework_info, agent_info } = subscribed;
        if !self.shutting_down {
            self.callbacks.push_back(if self.registered {
                Callback::Reregistered { agent: agent_info }
            } else {
                Callback::Registered { executor: executor_info, framework: framework_info, agent: agent_info }
            });
            self.registered = true;
        }
        self.send_updates();
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
            CloseReason::Redirected(to) => {
                self.stream_lost(now, format!("the agent refers to {to}"), effects);
            }
            CloseReason::Refused(message) if self.status == Status::Running => {
                self.fail(now, message, effects);
            }
            CloseReason::Refused(_) => self.end(effects),
        }
    }

    /// The stream that is open or being opened.
    pub(super) fn current_stream(&self) -> Option<u64> {
        match self.phase {
            Phase::Subscribing { stream, .. }
            | Phase::Subscribed { stream }
            | Phase::Closing { stream, .. } => Some(stream),
            _ => None,
        }
    }

    /// The connection has failed: try again, or give up.
    pub(super) fn stream_lost(&mut self, now: Time, reason: String, effects: &mut Vec<Effect>) {
        if let Phase::Closing { .. } = self.phase {
            return self.end(effects);
        }
        effects.push(Effect::Log(format!("No connection to the agent: {reason}")));
        let was_subscribed = matches!(self.phase, Phase::Subscribed { .. });
        self.leave_stream(effects);
        if was_subscribed && !self.shutting_down {
            self.callbacks.push_back(Callback::Disconnected);
        }
        let Ok(config) = &self.config else { return };
        let timeout = match (config.checkpoint, self.registered) {
            (true, _) => config.recovery_timeout,
            (false, false) => FIRST_SUBSCRIPTION_MAX,
            (false, true) => Duration::ZERO,
        };
        if timeout.is_zero() || self.shutting_down {
            self.phase = Phase::Deserted;
            return self.shut_down(effects);
        }
        let longest = config.backoff_max;
        let pause = self.part_of(longest).max(BACKOFF_MIN);
        self.recovery_deadline.get_or_insert(now + timeout);
        self.phase = Phase::BackingOff { until: now + pause };
    }

    /// Closes the current stream, if there is one. Updates are kept, messages are lost.
    fn leave_stream(&mut self, effects: &mut Vec<Effect>) {
        if let Some(stream) = self.current_stream() {
            effects.push(Effect::Disconnect { stream });
        }
        self.outgoing.clear();
    }

    pub(super) fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.recovery_deadline.is_some_and(|deadline| deadline <= now) {
            effects.push(Effect::Log("The agent stays away: the executor shuts down".to_owned()));
            self.leave_stream(effects);
            self.phase = Phase::Deserted;
            return self.shut_down(effects);
        }
        match self.phase {
            Phase::BackingOff { until } if until <= now => self.connect(now, effects),
            Phase::Subscribing { deadline, .. } if deadline <= now => {
                self.stream_lost(now, "no answer to SUBSCRIBE".to_owned(), effects);
            }
            Phase::Closing { deadline, .. } if deadline <= now => self.end(effects),
            _ => {}
        }
    }

    /// Ends the connection once the waiting calls are sent.
    pub(super) fn close(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.recovery_deadline = None;
        match self.phase {
            Phase::Subscribed { stream } if !self.outgoing.is_empty() => {
                self.phase = Phase::Closing { stream, deadline: now + CLOSING };
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
        self.outgoing.clear();
        self.phase = Phase::Closed;
        effects.push(Effect::Closed);
    }
}
