//! Agents: one a machine.

use std::{sync::Arc, time::Duration};

use crate::{
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId},
    resources::{Attribute, Resources},
    task::{Task, TaskInfo},
    time::Time,
};

/// A machine's description (Mesos `AgentInfo`).
#[derive(Debug, Clone, PartialEq)]
pub struct AgentInfo {
    /// `None` until the master has given one.
    pub id: Option<AgentId>,
    /// Host name, as offers show it.
    pub hostname: String,
    /// The address of the agent's HTTP door.
    pub ip: String,
    /// The port of the agent's HTTP door.
    pub port: u16,
    /// Everything that the machine has.
    pub resources: Resources,
    /// What distinguishes the machine.
    pub attributes: Vec<Attribute>,
}

/// What the master knows of an agent, for the operator API and for projections of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSnapshot {
    /// The agent.
    pub info: Arc<AgentInfo>,
    /// Where it stands.
    pub state: AgentState,
    /// First registration.
    pub registered_at: Time,
    /// Latest re-registration.
    pub reregistered_at: Option<Time>,
    /// Everything that it has, reservations included.
    pub total: Resources,
    /// Resources of tasks and executors, framework by framework (ascending id).
    pub allocated: Vec<(FrameworkId, Resources)>,
    /// Resources in outstanding offers.
    pub offered: Resources,
}

/// Where an agent stands in its life (see ARCHITECTURE.md, "Agents").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgentState {
    /// Known from the registry after a master's restart, not heard of yet.
    Recovered,
    /// Registered and reachable.
    Connected,
    /// Its link is down; it may come back.
    Disconnected,
    /// It was silent for too long; its tasks are unreachable.
    Unreachable,
    /// It unregistered, or was replaced.
    Removed,
    /// An operator declared it gone for good.
    Gone,
}

/// From an agent to the master. Ordered and reliable while the link is up; lost with it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ToMaster {
    /// First contact of an agent without an id.
    Register { info: Box<AgentInfo> },
    /// Contact of an agent that has an id: all that runs on it, so that any master can take over.
    Reregister {
        info: Arc<AgentInfo>,
        frameworks: Vec<Arc<FrameworkInfo>>,
        executors: Vec<Arc<ExecutorInfo>>,
        /// Every task that is not terminal, or terminal and not acknowledged.
        tasks: Vec<Task>,
    },
    /// A status update: the head of its task's queue, to be acknowledged, and the newest state queued.
    Update {
        framework_id: FrameworkId,
        status: Arc<crate::task::TaskStatus>,
        latest_state: crate::task::TaskState,
    },
    /// An executor ended; raw wait status.
    ExitedExecutor { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId, status: i32 },
    /// From an executor to its scheduler, best effort.
    Message { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId, data: bytes::Bytes },
    /// Answer to a ping.
    Pong,
    /// The agent leaves for good.
    Unregister,
}

/// From the master to an agent. Ordered and reliable while the link is up; lost with it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ToAgent {
    /// The agent was admitted under this id; pings come in this interval.
    Registered { agent_id: AgentId, ping_interval: Duration, ping_timeouts: u32 },
    /// The agent was re-admitted. `unknown_here` are tasks that the master has on this agent and the agent did not name:
    /// it answers each with a status.
    Reregistered {
        agent_id: AgentId,
        ping_interval: Duration,
        ping_timeouts: u32,
        unknown_here: Vec<(FrameworkId, crate::ids::TaskId)>,
    },
    /// Launch a task, or a group, on one executor. `launch_executor` is false where the master expects it to run already.
    RunTask {
        framework: Arc<FrameworkInfo>,
        executor: Option<Arc<ExecutorInfo>>,
        launch: Launch,
        launch_executor: bool,
    },
    /// Kill a task, within the grace that the scheduler gave or the task's own.
    KillTask { framework_id: FrameworkId, task_id: crate::ids::TaskId, grace: Option<Duration> },
    /// A scheduler has the update.
    Acknowledge { framework_id: FrameworkId, task_id: crate::ids::TaskId, uuid: crate::ids::UpdateId },
    /// A framework changed its info or failed over: flush its updates.
    UpdateFramework { framework: Arc<FrameworkInfo> },
    /// A framework ended: stop all that it runs.
    ShutdownFramework { framework_id: FrameworkId },
    /// Stop an executor.
    ShutdownExecutor { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId },
    /// From a scheduler to its executor, best effort.
    Message { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId, data: bytes::Bytes },
    /// Are you there?
    Ping,
    /// The agent may not join: stop, and tell why.
    Shutdown { message: String },
}

/// What one launch starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Launch {
    /// A task of its own.
    Task(Box<TaskInfo>),
    /// Tasks that start and end together.
    Group(Vec<TaskInfo>),
}

impl Launch {
    /// The tasks of the launch.
    pub fn tasks(&self) -> &[TaskInfo] {
        match self {
            Launch::Task(task) => std::slice::from_ref(task),
            Launch::Group(tasks) => tasks,
        }
    }
}
