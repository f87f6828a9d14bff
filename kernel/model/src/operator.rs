//! What operators, and projections such as Nodes, are told of the cluster: the typed form of the operator event stream.
//!
//! It says more than the wire does (`AgentUpdated`); the HTTP door maps it to the Mesos events that exist.

use std::sync::Arc;

use crate::{
    agent::AgentSnapshot,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId},
    task::{Task, TaskStatus},
};

/// One change of the cluster.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    AgentAdded {
        agent: AgentSnapshot,
    },
    /// Any change of state, totals or allocation of an agent; not on the wire.
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
