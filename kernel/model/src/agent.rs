//! Agents, and the messages between master and agent.

use std::{sync::Arc, time::Duration};

use crate::{
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId, UpdateId},
    operation::{AppliedOperations, OfferOperation, OperationUuid},
    resources::{Attribute, Resources, VolumeId},
    task::{Task, TaskInfo},
    time::Time,
};

/// An agent's description (Mesos `AgentInfo`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct AgentInfo {
    /// `None` until the master assigns one.
    pub id: Option<AgentId>,
    /// The host name in offers.
    pub hostname: String,
    /// The address of the agent's HTTP server.
    pub ip: String,
    /// The port of the agent's HTTP server.
    pub port: u16,
    /// The machine's total resources.
    pub resources: Resources,
    pub attributes: Vec<Attribute>,
    /// Whether it has a container runtime, and so runs tasks with an image.
    pub runs_images: bool,
    /// What operations have changed in its resources.
    pub operations: AppliedOperations,
}

/// The master's state of an agent, for the operator API and the Node projection.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct AgentSnapshot {
    pub info: Arc<AgentInfo>,
    pub state: AgentState,
    pub activation: Activation,
    pub registered_at: Time,
    pub reregistered_at: Option<Time>,
    /// Total resources, reservations included.
    pub total: Resources,
    /// Resources of tasks and executors by framework, in ascending order of the id.
    pub allocated: Vec<(FrameworkId, Resources)>,
    /// Resources in outstanding offers.
    pub offered: Resources,
}

/// Whether an agent takes new work. Operators change it, and it outlives disconnections and restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Activation {
    /// Its resources are offered while it is connected.
    #[default]
    Active,
    /// Nothing of it is offered; what runs on it runs on.
    Deactivated,
    /// Nothing of it is offered, and what runs on it ends.
    Drain(Drain),
}

impl Activation {
    /// Whether its resources may be offered.
    pub fn is_active(&self) -> bool {
        *self == Activation::Active
    }

    /// How it is drained.
    pub fn drain(&self) -> Option<&Drain> {
        match self {
            Activation::Drain(drain) => Some(drain),
            Activation::Active | Activation::Deactivated => None,
        }
    }
}

/// How an agent is drained, and how far that is (Mesos `DrainInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// What the operator asked for.
    pub config: DrainConfig,
    /// Whether no task and no operation is left on it.
    pub is_drained: bool,
    /// When its tasks were told to end.
    pub since: Time,
}

/// What an operator asks for with DRAIN_AGENT (Mesos `DrainConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainConfig {
    /// The longest time that a task of a framework gets to end; `None` leaves it to the task's kill policy.
    pub max_grace: Option<Duration>,
    /// Whether the agent is marked as gone when it is drained.
    pub mark_gone: bool,
}

/// An agent's state (see ARCHITECTURE.md, "Agent states").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AgentState {
    /// Read from the registry after a master restart; it has not re-registered yet.
    Recovered,
    /// Registered and reachable.
    Connected,
    /// Registered, and being stopped by its operator: nothing is launched on it any more. It is unreachable when its link closes.
    Stopping,
    /// Its link is down; it may re-register.
    Disconnected,
    /// It did not answer pings or did not re-register in time; its tasks are TASK_UNREACHABLE.
    Unreachable,
    /// It unregistered, or another agent replaced it.
    Removed,
    /// An operator marked it as gone permanently.
    Gone,
}

/// A message from an agent to the master. Delivery is ordered and reliable while the link is up; messages in flight are
/// lost with it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ToMaster {
    /// Registration of an agent without an id.
    Register {
        info: Box<AgentInfo>,
    },
    /// Re-registration of an agent with an id. It lists everything on the agent, so that a new master can rebuild its
    /// state.
    Reregister {
        info: Arc<AgentInfo>,
        frameworks: Vec<Arc<FrameworkInfo>>,
        executors: Vec<Arc<ExecutorInfo>>,
        /// Every task that is not terminal, or terminal and not acknowledged.
        tasks: Vec<Task>,
        /// Those whose end is not acknowledged.
        operations: Vec<OfferOperation>,
    },
    /// A status update: the oldest unacknowledged one of the task, and the latest state known to the agent.
    Update {
        framework_id: FrameworkId,
        status: Arc<crate::task::TaskStatus>,
        latest_state: crate::task::TaskState,
    },
    /// The status of an operation, which is to be acknowledged.
    OperationStatus {
        operation: Box<OfferOperation>,
    },
    /// An executor terminated; `status` is the raw wait status.
    ExitedExecutor {
        framework_id: FrameworkId,
        executor_id: crate::ids::ExecutorId,
        status: i32,
    },
    /// A message from an executor to its scheduler, best effort.
    Message {
        framework_id: FrameworkId,
        executor_id: crate::ids::ExecutorId,
        data: bytes::Bytes,
    },
    /// An executor's task is to hold these amounts. The agent has given up what they are less by.
    ResizeTask {
        framework_id: FrameworkId,
        task_id: crate::ids::TaskId,
        amounts: Resources,
    },
    /// The directories of these new persistent volumes could not be made: there are no such volumes.
    VolumesFailed {
        volumes: Vec<VolumeId>,
    },
    /// All revocable resources of the agent from now on, allocated or not.
    Oversubscribed {
        resources: Resources,
    },
    /// Why containers of images cannot be started from now on; `None` if they can.
    ContainerRuntime {
        failure: Option<String>,
    },
    Pong,
    /// The agent is being stopped: it launches nothing any more, and is unreachable as soon as its link closes. Its checkpoint
    /// stays, so it may come back.
    Stopping,
    /// The agent leaves permanently.
    Unregister,
}

/// A message from the master to an agent. Delivery is ordered and reliable while the link is up; messages in flight are
/// lost with it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum ToAgent {
    /// The agent is registered under this id and is pinged at this interval.
    Registered { agent_id: AgentId, ping_interval: Duration, ping_timeouts: u32 },
    /// The agent is re-registered. `unknown_here` are tasks that the master has on this agent and the agent did not
    /// report; the agent answers each with a status update.
    Reregistered {
        agent_id: AgentId,
        ping_interval: Duration,
        ping_timeouts: u32,
        unknown_here: Vec<(FrameworkId, crate::ids::TaskId)>,
    },
    /// Launch a task or a task group on one executor. `launch_executor` is false if the master knows the executor to
    /// run already.
    RunTask {
        framework: Arc<FrameworkInfo>,
        executor: Option<Arc<ExecutorInfo>>,
        launch: Launch,
        launch_executor: bool,
    },
    /// Kill a task, within the scheduler's grace period or the task's own.
    KillTask { framework_id: FrameworkId, task_id: crate::ids::TaskId, grace: Option<Duration> },
    /// A scheduler acknowledged the update.
    Acknowledge { framework_id: FrameworkId, task_id: crate::ids::TaskId, uuid: crate::ids::UpdateId },
    /// A framework changed its info or failed over: resend its unacknowledged updates.
    UpdateFramework { framework: Arc<FrameworkInfo> },
    /// A framework terminated: shut down its executors.
    ShutdownFramework { framework_id: FrameworkId },
    /// Shut down an executor.
    ShutdownExecutor { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId },
    /// A message from a scheduler to its executor, best effort.
    Message { framework_id: FrameworkId, executor_id: crate::ids::ExecutorId, data: bytes::Bytes },
    /// What a task holds now, as the answer to [`ToMaster::ResizeTask`].
    TaskResized { framework_id: FrameworkId, task_id: crate::ids::TaskId, resources: Resources },
    /// What operations have made of this agent's resources, all of it, from now on.
    CheckpointResources {
        resources: Resources,
        applied: AppliedOperations,
        /// The operations with ids that have led to this, and that the agent may not know.
        operations: Vec<OfferOperation>,
    },
    /// A framework acknowledged the status of an operation, or will never do so.
    AcknowledgeOperation { operation: OperationUuid, status: UpdateId },
    /// A liveness check, answered with [`ToMaster::Pong`].
    Ping,
    /// The master refuses this agent: it must shut down, and `message` says why.
    Shutdown { message: String },
}

/// The tasks of one launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Launch {
    /// A single task.
    Task(Box<TaskInfo>),
    /// A task group: all start together, and all are killed if one fails.
    Group(Vec<TaskInfo>),
}

impl Launch {
    /// The tasks of this launch.
    pub fn tasks(&self) -> &[TaskInfo] {
        match self {
            Launch::Task(task) => std::slice::from_ref(task),
            Launch::Group(tasks) => tasks,
        }
    }
}
