//! A snapshot of the master's tables, for long reads: operator responses are built from it on another thread while the
//! master continues.

use std::ops::Deref;

use super::{Master, Record, Registry, timers::Timers};
use crate::allocator::Allocator;

/// A snapshot of a master. It supports every getter except those about the allocator's current state.
///
/// Rows are shared with the master (copy-on-write), so a snapshot costs some nanoseconds per row.
#[derive(Debug)]
pub struct Snapshot(Master);

impl Deref for Snapshot {
    type Target = Master;

    fn deref(&self) -> &Master {
        &self.0
    }
}

impl Master {
    /// Takes a snapshot.
    pub fn snapshot(&self) -> Snapshot {
        // Only the weights and quotas of the registry are read from a snapshot; agents have their own table.
        let of_role = |record: &&Record| matches!(record, Record::Weight { .. } | Record::Quota { .. });
        let of_roles = self.registry.iter().filter(of_role);
        Snapshot(Master {
            offer_prefix: self.offer_prefix.clone(),
            registry: Registry::from_records(of_roles.cloned()),
            agents: self.agents.clone(),
            agents_by_slot: Default::default(),
            absent: self.absent.clone(),
            links: Default::default(),
            frameworks: self.frameworks.clone(),
            streams: Default::default(),
            completed: self.completed.clone(),
            offers: self.offers.clone(),
            allocator: Allocator::new(self.policy()),
            timers: Timers::default(),
            next_agent: self.next_agent,
            next_framework: self.next_framework,
            next_offer: self.next_offer,
            next_inverse_offer: self.next_inverse_offer,
            id_generator: self.id_generator.clone(),
            operations: Default::default(),
            started: self.started,
            gc_scheduled: self.gc_scheduled,
            quota_recovery: self.quota_recovery,
            guarantees: Default::default(),
            drains: Default::default(),
            now: self.now,
            counts: self.counts.clone(),
            changed_agents: Default::default(),
            out: Default::default(),
            config: self.config.clone(),
        })
    }
}
