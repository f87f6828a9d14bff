//! The effects of the agent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kernel_model::{
    agent::ToMaster,
    executor::{Event as ExecutorEvent, ExecutorInfo},
    framework::FrameworkInfo,
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    operation::{AppliedOperations, OfferOperation, OperationUuid},
    resources::{Resources, Scalar, VolumeId},
    task::{TaskInfo, TaskStatus},
    time::Time,
};

use super::ConnectionId;
use crate::effect::RequestId;

/// The effects of one step. Several steps may share one write, if their effects follow it in order.
pub type Effects = crate::effect::Effects<Record, Effect>;

/// A record of the checkpoint, which is a sequence of records; [`super::Agent::records`] returns a shortest equivalent
/// sequence.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    /// The master assigned this id.
    Identity { agent_id: AgentId },
    /// What operations have made of the machine's resources, all of it.
    Resources { resources: Resources, applied: AppliedOperations },
    /// An operation with an id was carried out.
    Operation { operation: Box<OfferOperation> },
    /// The status of an operation was acknowledged.
    OperationDone { uuid: OperationUuid },
    /// A framework was added, or changed its info.
    Framework { info: Arc<FrameworkInfo> },
    /// A framework was removed with its updates.
    FrameworkRemoved { framework_id: FrameworkId },
    /// An executor is about to start in this container.
    Executor { framework_id: FrameworkId, executor: Arc<ExecutorInfo>, container_id: ContainerId, at: Time },
    /// An executor terminated, and no other run follows.
    ExecutorRemoved { framework_id: FrameworkId, executor_id: ExecutorId },
    /// A task was received.
    Task {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        task: Arc<TaskInfo>,
        launch: u64,
        grouped: bool,
        at: Time,
    },
    /// A kill was requested.
    Kill { framework_id: FrameworkId, task_id: TaskId, grace: Option<Duration> },
    /// A status update was received from an executor, or made by the agent.
    Update { framework_id: FrameworkId, status: Arc<TaskStatus> },
    /// An update was acknowledged or dropped.
    UpdateDone { framework_id: FrameworkId, task_id: TaskId, uuid: UpdateId },
    /// A task's terminal update was acknowledged.
    TaskRemoved { framework_id: FrameworkId, task_id: TaskId },
}

/// An effect to carry out.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Effect {
    /// Send to the master on the current link; drop the message if there is none.
    ToMaster(ToMaster),
    /// The master sends no pings: close the link and dial again.
    DropLink,
    /// Start an executor. The runtime answers with [`super::Event::StartFailed`] or, when it terminates,
    /// [`super::Event::Exited`].
    Start(Box<Start>),
    /// Make the directories of these persistent volumes as far as they do not exist, and remove those of this agent's other
    /// volumes. A volume with another number is another one, whose data must not be seen. Answered by
    /// [`super::Event::VolumesSynced`], before any other event; one answer is enough for several.
    SyncVolumes { agent_id: AgentId, volumes: BTreeMap<VolumeId, u64> },
    /// Link persistent volumes in the sandbox of a running container too.
    LinkVolumes { container_id: ContainerId, volumes: Vec<LinkedVolume> },
    /// Change the limits of a running container.
    SetLimits { container_id: ContainerId, limits: Limits },
    /// Send SIGTERM to a container's first process.
    Terminate { container_id: ContainerId },
    /// Kill all processes of a container. May repeat, and may name a container that is gone.
    Destroy { container_id: ContainerId },
    /// Send an event to an executor; drop it if the stream is closed.
    ToExecutor { connection: ConnectionId, event: ExecutorEvent },
    /// Close an executor's event stream.
    Close { connection: ConnectionId },
    /// Answer a call of the executor API.
    Reply { request: RequestId, result: Result<(), Refusal> },
    /// Everything to be stopped has stopped: the agent may exit. The message, if any, is why it must.
    Stopped {
        /// The master's message, if it refused the agent.
        message: Option<String>,
    },
}

/// The parameters of an executor's start.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Start {
    /// The container of this run.
    pub container_id: ContainerId,
    pub framework: Arc<FrameworkInfo>,
    /// Its `framework_id` is set.
    pub executor: Arc<ExecutorInfo>,
    pub agent_id: AgentId,
    /// The task, for the built-in command executor only.
    pub task: Option<Arc<TaskInfo>>,
    pub limits: Limits,
    /// The persistent volumes in its sandbox.
    pub volumes: Vec<LinkedVolume>,
}

/// A persistent volume in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LinkedVolume {
    pub id: VolumeId,
    /// Relative to the sandbox. In a container of an image it can be absolute, which is outside of the sandbox.
    pub container_path: String,
    /// Only containers of images have volumes that they cannot write.
    pub read_only: bool,
}

/// Resource limits of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Limits {
    pub cpus: Scalar,
    /// CPUs beyond those, as far as nobody else needs them.
    pub revocable_cpus: Scalar,
    /// MiB.
    pub mem_mib: Scalar,
}

/// Why the executor API refuses a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refusal {
    /// The framework is not on this agent.
    #[error("Framework cannot be found")]
    FrameworkUnknown,
    /// The executor is not on this agent.
    #[error("Executor cannot be found")]
    ExecutorUnknown,
    #[error("Executor is not subscribed")]
    NotSubscribed,
}

impl Effects {
    pub(super) fn persist(&mut self, record: Record) {
        self.persist.push(record);
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.after_persist.push(effect);
    }

    pub(super) fn send_to_master(&mut self, message: ToMaster) {
        self.after_persist.push(Effect::ToMaster(message));
    }

    pub(super) fn send_to_executor(&mut self, connection: ConnectionId, event: ExecutorEvent) {
        self.after_persist.push(Effect::ToExecutor { connection, event });
    }

    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refusal>) {
        self.after_persist.push(Effect::Reply { request, result });
    }
}
