//! Mutable access to the master's tables, for tests that break invariants on purpose.

use std::collections::BTreeMap;

use kernel_model::{
    ids::{AgentId, FrameworkId, StreamId},
    offer::Offer,
};

use crate::{
    allocator::Allocator,
    master::{AbsentAgent, Agent, Framework, Master, Registry},
    snapshot_map::SnapshotMap,
};

/// The master's tables.
pub(crate) struct Tables<'a> {
    pub(crate) agents: &'a mut SnapshotMap<AgentId, Agent>,
    pub(crate) absent: &'a mut SnapshotMap<AgentId, AbsentAgent>,
    pub(crate) frameworks: &'a mut BTreeMap<FrameworkId, Framework>,
    pub(crate) streams: &'a mut BTreeMap<StreamId, FrameworkId>,
    pub(crate) registry: &'a mut Registry,
    pub(crate) allocator: &'a mut Allocator,
    /// The only outstanding offer.
    pub(crate) offer: &'a mut Offer,
}

impl Tables<'_> {
    /// The only agent.
    pub(crate) fn agent(&mut self) -> &mut Agent {
        self.agents.values_mut().next().unwrap()
    }

    /// The only framework.
    pub(crate) fn framework(&mut self) -> &mut Framework {
        self.frameworks.values_mut().next().unwrap()
    }
}

impl Master {
    /// The tables of a master with one outstanding offer.
    pub(crate) fn tables(&mut self) -> Tables<'_> {
        Tables {
            agents: &mut self.agents,
            absent: &mut self.absent,
            frameworks: &mut self.frameworks,
            streams: &mut self.streams,
            registry: &mut self.registry,
            allocator: &mut self.allocator,
            offer: std::sync::Arc::make_mut(&mut self.offers.values_mut().next().unwrap().offer),
        }
    }
}
