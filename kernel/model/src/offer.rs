//! Offers: free resources of one agent, offered to one framework in one role.

use std::{sync::Arc, time::Duration};

use crate::{
    agent::AgentInfo,
    ids::{AgentId, ExecutorId, FrameworkId, OfferId},
    resources::Resources,
    roles::Role,
};

/// An offer (Mesos `Offer`).
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Its id, until it is answered or rescinded.
    pub id: OfferId,
    /// To whom.
    pub framework_id: FrameworkId,
    /// On which agent.
    pub agent_id: AgentId,
    /// Where the agent is and what distinguishes it. Over the wire its resources do not come along.
    pub agent: Arc<AgentInfo>,
    /// In which role.
    pub role: Role,
    /// What is free; each resource carries the allocation's role.
    pub resources: Resources,
    /// The framework's executors that run there.
    pub executor_ids: Vec<ExecutorId>,
}

/// How long a refusal stands (Mesos `Filters`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filters {
    /// Five seconds unless told; at most 365 days; zero is no filter.
    pub refuse: Duration,
}

impl Default for Filters {
    fn default() -> Self {
        Self { refuse: Duration::from_secs(5) }
    }
}
