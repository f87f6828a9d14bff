//! The master's tables at one moment, for reads that take long: everything that operators see, made into messages while the
//! master goes on.

use std::ops::Deref;

use super::{Master, Record, Registry, timers::Timers};
use crate::allocator::Allocator;

/// A still picture of a master: it answers every getter but those about the allocator's present intentions.
///
/// Rows are shared with the master, so that a picture costs some nanoseconds a row; those that change while it exists are
/// copied then.
#[derive(Debug)]
pub struct Picture(Master);

impl Deref for Picture {
    type Target = Master;

    fn deref(&self) -> &Master {
        &self.0
    }
}

impl Master {
    /// Takes a picture.
    pub fn picture(&self) -> Picture {
        // Of the registry only weights are shown; agents are rows of their own.
        let weights = self.registry.iter().filter(|record| matches!(record, Record::Weight { .. }));
        Picture(Master {
            offer_prefix: self.offer_prefix.clone(),
            registry: Registry::from_records(weights.cloned()),
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
            started: self.started,
            collection_planned: self.collection_planned,
            now: self.now,
            dirty_agents: Default::default(),
            out: Default::default(),
            config: self.config.clone(),
        })
    }
}
