//! Tasks, their states and status updates.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    container::ImageContainer,
    executor::{CommandInfo, ExecutorInfo},
    ids::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId},
    labels::Labels,
    resources::{Resource, Resources},
    roles::Role,
    time::Time,
};

/// A task to launch (Mesos `TaskInfo`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TaskInfo {
    /// A display name.
    pub name: String,
    /// Unique within the framework.
    pub task_id: TaskId,
    pub agent_id: AgentId,
    pub resources: Resources,
    /// Resources that were requested with an amount of zero. They hold nothing; their role is that of a task that has
    /// no others, and the APIs show them.
    pub zero_resources: Vec<Resource>,
    /// The executor. Exactly one of `executor` and `command` is set, except inside a group.
    pub executor: Option<Arc<ExecutorInfo>>,
    /// The command, for a task without an executor.
    pub command: Option<CommandInfo>,
    /// The time between SIGTERM and SIGKILL.
    pub kill_grace: Option<Duration>,
    /// The task is killed after this time.
    pub max_completion_time: Option<Duration>,
    /// Opaque bytes for the executor.
    pub data: Bytes,
    pub labels: Labels,
    /// The container of an image that its command runs in, for a task without an executor; also part of `extra`.
    pub image: Option<Arc<ImageContainer>>,
    /// The encoded fields of `v1::TaskInfo` that the kernel does not interpret: container, checks, discovery, limits.
    pub extra: Bytes,
}

impl TaskInfo {
    /// Allocates the resources that have no role yet to this one.
    pub fn allocate_by_default_to(&mut self, role: &Role) {
        self.resources.allocate_by_default_to(role);
        for resource in &mut self.zero_resources {
            resource.allocation_role.get_or_insert_with(|| role.clone());
        }
    }

    /// The role that the task's resources are allocated to.
    pub fn role(&self) -> Option<&Role> {
        self.resources
            .iter()
            .chain(&self.zero_resources)
            .find_map(|resource| resource.allocation_role.as_ref())
    }
}

/// The state of a task in master and agent (Mesos `Task`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Task {
    pub framework_id: FrameworkId,
    /// The launched task. Its resources have the allocation role set.
    pub info: Arc<TaskInfo>,
    /// `None` for command tasks.
    pub executor_id: Option<ExecutorId>,
    /// The latest state.
    pub state: TaskState,
    /// The update that waits for the scheduler's acknowledgement: its state and id.
    pub unacknowledged: Option<(TaskState, Option<UpdateId>)>,
    /// The latest status of each state, without data.
    pub statuses: Vec<Arc<TaskStatus>>,
    pub launched_at: Time,
}

/// The label by which a framework tells the priority of its task: an integer, 0 without it. Of equal roles, tasks of lower priority
/// are preempted first.
pub const PRIORITY_LABEL: &str = "catamaran.dev/priority";

/// A task's status (Mesos `TaskStatus`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct TaskStatus {
    pub task_id: TaskId,
    pub state: TaskState,
    pub source: Source,
    pub reason: Option<Reason>,
    /// A message for people.
    pub message: Option<String>,
    pub agent_id: Option<AgentId>,
    pub executor_id: Option<ExecutorId>,
    pub timestamp: Time,
    /// Present exactly if the scheduler must acknowledge the update.
    pub uuid: Option<UpdateId>,
    /// The result of the health check.
    pub healthy: Option<bool>,
    /// Opaque bytes from the executor to the scheduler.
    pub data: Bytes,
    pub labels: Labels,
    /// When the agent became unreachable.
    pub unreachable_since: Option<Time>,
    /// The encoded fields of `v1::TaskStatus` that the kernel does not interpret: check status, container status,
    /// limitation.
    pub extra: Bytes,
}

impl TaskStatus {
    /// A status with only these fields; set the others by struct update.
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

    /// The status without its data, as the tables store it.
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
    /// Whether no other state can follow.
    pub fn is_terminal(self) -> bool {
        use TaskState::*;
        matches!(self, Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator)
    }
}

/// The source of a status (Mesos `TaskStatus.Source`, same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Source {
    Master = 0,
    Agent = 1,
    Executor = 2,
}

/// The reason of a status (Mesos `TaskStatus.Reason`, same numbers).
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
