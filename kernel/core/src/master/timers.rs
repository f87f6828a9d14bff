//! What the master has to do at a certain time, in order. Timers are never cancelled: each says what it was set for, and
//! does nothing if that has passed.

use std::collections::BTreeMap;

use kernel_model::{
    ids::{AgentId, FrameworkId},
    time::Time,
};

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timer {
    /// Ask the agent for a sign of life, or give it up.
    Ping { agent: AgentId, epoch: u64 },
    /// A disconnected agent had its time.
    AgentReregister { agent: AgentId, epoch: u64 },
    /// Agents of the registry had their time after the master's start.
    AgentRecovery,
    /// A disconnected framework had its time.
    FrameworkFailover { framework: FrameworkId, epoch: u64 },
    /// An offer had its time.
    OfferExpiry { number: u64 },
    /// Old entries of the registry are to be forgotten.
    RegistryCollection,
}

/// All timers, earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Time, u64), Timer>,
    next: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.next += 1;
        self.queue.insert((at, self.next), timer);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
