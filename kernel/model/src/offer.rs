//! Offers: free resources of one agent, offered to one framework in one role.

use std::{sync::Arc, time::Duration};

use crate::{
    agent::AgentInfo,
    ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId},
    resources::Resources,
    roles::Role,
    time::Time,
};

/// An offer (Mesos `Offer`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Offer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    /// Host name and attributes of the agent. Its resources are not sent over the wire.
    pub agent: Arc<AgentInfo>,
    /// The role that the resources are allocated to.
    pub role: Role,
    /// The offered resources, each with the allocation role set.
    pub resources: Resources,
    /// The framework's executors on the agent.
    pub executor_ids: Vec<ExecutorId>,
}

/// How long a declined offer is not repeated (Mesos `Filters`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filters {
    /// Mesos `refuse_seconds`: default 5 s, at most 365 days; zero means no filter.
    pub refuse: Duration,
}

impl Default for Filters {
    fn default() -> Self {
        Self { refuse: Duration::from_secs(5) }
    }
}

/// Why a task is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaim {
    /// Its resources are guaranteed to another role.
    Guarantee,
    /// An operator drains its agent.
    Drain,
}

/// A request to end a task, because its resources are wanted for others or not for long any more (Mesos `InverseOffer`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct InverseOffer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    /// The task; the wire does not have it.
    pub task_id: TaskId,
    /// What the task holds.
    pub resources: Resources,
    /// Why; the wire does not have it.
    pub why: Reclaim,
    /// From when on the resources are not available.
    pub start: Time,
}
