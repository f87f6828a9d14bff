//! Timers, ordered by time. They are not cancelled: each identifies what it was set for, and has no effect if that has
//! passed.

use std::collections::BTreeMap;

use kernel_model::{
    ids::{AgentId, FrameworkId},
    time::Time,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Timer {
    /// Ping the agent, or mark it as unreachable.
    Ping { agent: AgentId, epoch: u64 },
    /// A disconnected agent did not re-register in time.
    AgentReregister { agent: AgentId, epoch: u64 },
    /// Recovered agents did not re-register in time.
    AgentRecovery,
    /// Offers are made although few agents have registered again.
    QuotaRecovery,
    /// Look at guarantees that are not met.
    Guarantees,
    /// Ask again for tasks that are to end on agents that are drained.
    Drains,
    /// A disconnected or recovered framework did not subscribe again in time.
    FrameworkFailover { framework: FrameworkId, epoch: u64 },
    /// An offer timed out.
    OfferExpiry { number: u64 },
    /// Remove old registry records.
    RegistryGc,
}

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
