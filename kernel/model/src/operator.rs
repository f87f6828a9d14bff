//! Events of the operator API in typed form, for operators and for projections such as Nodes.
//!
//! It has more events than the wire protocol (`AgentUpdated`); the HTTP server sends those that Mesos has.

use std::sync::Arc;

use crate::{
    agent::AgentSnapshot,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId},
    task::{Task, TaskStatus},
};

/// A change of the cluster's state.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    AgentAdded {
        agent: AgentSnapshot,
    },
    /// A change of an agent's state, totals or allocation; not sent over the wire.
    AgentUpdated {
        agent: AgentSnapshot,
    },
    AgentRemoved {
        agent_id: AgentId,
    },
    FrameworkAdded {
        framework: Arc<FrameworkInfo>,
    },
    FrameworkUpdated {
        framework: Arc<FrameworkInfo>,
    },
    FrameworkRemoved {
        framework: Arc<FrameworkInfo>,
    },
    TaskAdded {
        task: Task,
    },
    TaskUpdated {
        framework_id: FrameworkId,
        status: Arc<TaskStatus>,
        latest: crate::task::TaskState,
    },
}
