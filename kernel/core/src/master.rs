//! The master: one ledger of all machines, frameworks and tasks, as one pure machine.

mod effect;
mod event;
mod registry;
mod state;

pub use effect::{Answer, Effect, Effects, Op, Record, RecordKey, Refusal};
pub use event::{Event, OperatorCall};
pub use registry::Registry;
pub use state::{Agent, Framework, FrameworkState, MasterConfig, RoleView};

use std::collections::{BTreeMap, VecDeque};

use kernel_model::{
    agent::AgentInfo,
    ids::{AgentId, FrameworkId, OfferId},
    offer::Offer,
    roles::Role,
    time::Time,
};

/// The master.
#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    registry: Registry,
    agents: BTreeMap<AgentId, Agent>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    completed: VecDeque<Framework>,
}

impl Master {
    /// A master that knows what the registry says.
    pub fn new(config: MasterConfig, registry: Registry) -> Self {
        Self {
            config,
            registry,
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
        }
    }

    /// The one entrance.
    pub fn step(&mut self, _now: Time, _event: Event) -> Effects {
        Effects::default()
    }

    /// When a [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// How it behaves.
    pub fn config(&self) -> &MasterConfig {
        &self.config
    }

    /// What it must know again after a restart.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Agents that are connected or disconnected.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// One of [`Master::agents`].
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// Agents of the registry that have not come back since the master started.
    pub fn recovered_agents(&self) -> impl Iterator<Item = &AgentInfo> {
        std::iter::empty()
    }

    /// Frameworks that have not ended.
    pub fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.frameworks.values()
    }

    /// One of [`Master::frameworks`].
    pub fn framework(&self, id: &FrameworkId) -> Option<&Framework> {
        self.frameworks.get(id)
    }

    /// Frameworks that ended, oldest first.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.completed.iter()
    }

    /// The outstanding offers of a framework, or of all.
    pub fn offers(&self, _of: Option<&FrameworkId>) -> impl Iterator<Item = &Offer> {
        std::iter::empty()
    }

    /// One outstanding offer.
    pub fn offer(&self, _id: &OfferId) -> Option<&Offer> {
        None
    }

    /// Roles with frameworks, weights or reservations, by name.
    pub fn roles(&self) -> Vec<RoleView> {
        Vec::new()
    }

    /// The weights that were set.
    pub fn weights(&self) -> impl Iterator<Item = (&Role, f64)> {
        std::iter::empty()
    }
}
