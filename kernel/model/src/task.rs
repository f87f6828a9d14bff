//! Tasks, their states and status updates.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    executor::{CommandInfo, ExecutorInfo},
    ids::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId},
    labels::Labels,
    resources::Resources,
    time::Time,
};

/// A task to launch (Mesos `TaskInfo`).
#[derive(Debug, Clone, PartialEq)]
pub struct TaskInfo {
    /// A name for people.
    pub name: String,
    /// Unique within the framework.
    pub task_id: TaskId,
    /// The agent of the offer.
    pub agent_id: AgentId,
    /// What it takes.
    pub resources: Resources,
    /// Runs on this executor …
    pub executor: Option<Arc<ExecutorInfo>>,
    /// … or as a command; exactly one of the two, except inside a group.
    pub command: Option<CommandInfo>,
    /// How long a kill may take.
    pub kill_grace: Option<Duration>,
    /// Killed after this time.
    pub max_completion_time: Option<Duration>,
    /// Bytes for the executor.
    pub data: Bytes,
    /// Free labels.
    pub labels: Labels,
    /// Fields of the wire message that the kernel carries and does not read (container, checks, discovery, limits).
    pub extra: Bytes,
}

/// What master and agent remember of a task (Mesos `Task`).
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Whose it is.
    pub framework_id: FrameworkId,
    /// As it was launched. `resources` carry the allocation's role.
    pub info: Arc<TaskInfo>,
    /// `None` for command tasks.
    pub executor_id: Option<ExecutorId>,
    /// The newest state known.
    pub state: TaskState,
    /// The update in flight to the scheduler, if one is: its state and id.
    pub unacknowledged: Option<(TaskState, Option<UpdateId>)>,
    /// The newest status of each state it went through, without data.
    pub statuses: Vec<Arc<TaskStatus>>,
    /// When it was launched.
    pub launched_at: Time,
}

/// A status of a task (Mesos `TaskStatus`).
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStatus {
    /// The task.
    pub task_id: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Who says so.
    pub source: Source,
    /// Why.
    pub reason: Option<Reason>,
    /// A sentence for people.
    pub message: Option<String>,
    /// Where.
    pub agent_id: Option<AgentId>,
    /// On which executor.
    pub executor_id: Option<ExecutorId>,
    /// When.
    pub timestamp: Time,
    /// Present exactly where the scheduler must acknowledge.
    pub uuid: Option<UpdateId>,
    /// The health check's verdict.
    pub healthy: Option<bool>,
    /// Bytes from the executor to the scheduler.
    pub data: Bytes,
    /// Free labels.
    pub labels: Labels,
    /// Since when the agent is unreachable.
    pub unreachable_since: Option<Time>,
    /// Fields of the wire message that the kernel carries and does not read (check status, container status, limitation).
    pub extra: Bytes,
}

impl TaskStatus {
    /// A bare status; fill in the rest by struct update.
    pub fn new(task_id: TaskId, state: TaskState, source: Source, timestamp: Time) -> Self {
        Self {
            task_id,
            state,
            source,
            reason: None,
            message: None,
            agent_id: None,
            executor_id: None,
            timestamp,
            uuid: None,
            healthy: None,
            data: Bytes::new(),
            labels: Labels::default(),
            unreachable_since: None,
            extra: Bytes::new(),
        }
    }

    /// The same without its data, as tables remember it.
    pub fn without_data(self: &Arc<Self>) -> Arc<Self> {
        if self.data.is_empty() {
            return self.clone();
        }
        let rest = Self { data: Bytes::new(), ..Self::clone(self) };
        Arc::new(rest)
    }
}

/// The state of a task (Mesos `TaskState`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TaskState {
    Staging = 6,
    Starting = 0,
    Running = 1,
    Killing = 8,
    Finished = 2,
    Failed = 3,
    Killed = 4,
    Error = 7,
    Lost = 5,
    Dropped = 9,
    Unreachable = 10,
    Gone = 11,
    GoneByOperator = 12,
    Unknown = 13,
}

impl TaskState {
    /// Whether nothing can follow.
    pub fn is_terminal(self) -> bool {
        use TaskState::*;
        matches!(self, Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator)
    }
}

/// Who made a status (Mesos `TaskStatus.Source`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Source {
    Master = 0,
    Agent = 1,
    Executor = 2,
}

/// Why a task is in its state (Mesos `TaskStatus.Reason`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Reason {
    CommandExecutorFailed = 0,
    ExecutorTerminated = 1,
    ExecutorUnregistered = 2,
    FrameworkRemoved = 3,
    GcError = 4,
    InvalidFrameworkId = 5,
    InvalidOffers = 6,
    MasterDisconnected = 7,
    ContainerLimitationMemory = 8,
    Reconciliation = 9,
    AgentDisconnected = 10,
    AgentRemoved = 11,
    AgentRestarted = 12,
    AgentUnknown = 13,
    TaskInvalid = 14,
    TaskUnauthorized = 15,
    TaskUnknown = 16,
    ContainerPreempted = 17,
    ResourcesUnknown = 18,
    ContainerLimitation = 19,
    ContainerLimitationDisk = 20,
    ContainerLaunchFailed = 21,
    ContainerUpdateFailed = 22,
    ExecutorRegistrationTimeout = 23,
    ExecutorReregistrationTimeout = 24,
    TaskGroupInvalid = 25,
    TaskGroupUnauthorized = 26,
    IoSwitchboardExited = 27,
    TaskCheckStatusUpdated = 28,
    TaskHealthCheckStatusUpdated = 29,
    TaskKilledDuringLaunch = 30,
    AgentRemovedByOperator = 31,
    AgentReregistered = 32,
    MaxCompletionTimeReached = 33,
    AgentDraining = 34,
}
