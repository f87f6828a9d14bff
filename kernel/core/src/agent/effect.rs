//! Every way out of the agent machine.

use std::{sync::Arc, time::Duration};

use kernel_model::{
    agent::ToMaster,
    executor::{Event as ExecutorEvent, ExecutorInfo},
    framework::FrameworkInfo,
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    resources::Scalar,
    task::{TaskInfo, TaskStatus},
    time::Time,
};

use super::ConnectionId;
use crate::effect::RequestId;

/// What a step wants done. Several steps may share one write, if their effects follow all of it in order.
pub type Effects = crate::effect::Effects<Record, Effect>;

/// A line of the checkpoint. The checkpoint is their sequence; [`super::Agent::records`] gives a shortest equivalent one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    /// The master gave this id.
    Identity { agent_id: AgentId },
    /// A framework is here, or changed its info.
    Framework { info: Arc<FrameworkInfo> },
    /// Nothing of the framework is left, its updates included.
    FrameworkRemoved { framework_id: FrameworkId },
    /// An executor is about to be started in this container.
    Executor { framework_id: FrameworkId, executor: Arc<ExecutorInfo>, container_id: ContainerId, at: Time },
    /// An executor ended for good.
    ExecutorRemoved { framework_id: FrameworkId, executor_id: ExecutorId },
    /// A task was received for an executor.
    Task {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        task: Arc<TaskInfo>,
        launch: u64,
        grouped: bool,
        at: Time,
    },
    /// A kill was asked for.
    Kill { framework_id: FrameworkId, task_id: TaskId, grace: Option<Duration> },
    /// A status update was taken over from an executor, or made here.
    Update { framework_id: FrameworkId, status: Arc<TaskStatus> },
    /// An update needs no more delivery.
    UpdateDone { framework_id: FrameworkId, task_id: TaskId, uuid: UpdateId },
    /// A task is over and its terminal update acknowledged.
    TaskRemoved { framework_id: FrameworkId, task_id: TaskId },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Say this to the master on the present link; drop it if there is none.
    ToMaster(ToMaster),
    /// The master is silent: close the link and dial again.
    DropLink,
    /// Start an executor. Answer with [`super::Event::StartFailed`] or, some day, [`super::Event::Exited`].
    Start(Box<Start>),
    /// Change what a running container may use.
    SetLimits {
        /// Which.
        container_id: ContainerId,
        /// The new limits.
        limits: Limits,
    },
    /// Ask a container's first process to end (SIGTERM).
    Terminate {
        /// Which.
        container_id: ContainerId,
    },
    /// End all of a container at once. May be asked for twice, and for a container that is gone.
    Destroy {
        /// Which.
        container_id: ContainerId,
    },
    /// Send an event to an executor; drop it if the stream is gone.
    ToExecutor {
        /// The stream.
        connection: ConnectionId,
        /// What to send.
        event: ExecutorEvent,
    },
    /// End an executor's event stream.
    Close {
        /// The stream.
        connection: ConnectionId,
    },
    /// Answer a request at the executor door.
    Reply {
        /// Which.
        request: RequestId,
        /// Accepted, or why not.
        result: Result<(), Refusal>,
    },
    /// All that was to be ended has ended: the agent may exit. The message, if any, is why it must.
    Stopped {
        /// The master's reason, where it was the master that refused the agent.
        message: Option<String>,
    },
}

/// What it takes to start an executor.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The run.
    pub container_id: ContainerId,
    /// Whose.
    pub framework: Arc<FrameworkInfo>,
    /// What; its `framework_id` is set.
    pub executor: Arc<ExecutorInfo>,
    /// On which agent.
    pub agent_id: AgentId,
    /// The task, for the built-in command executor only.
    pub task: Option<Arc<TaskInfo>>,
    /// What it may use.
    pub limits: Limits,
}

/// Amounts that a container may use; zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// CPUs.
    pub cpus: Scalar,
    /// Memory in MiB.
    pub mem_mib: Scalar,
}

/// Why the executor door refuses a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such framework here.
    #[error("Framework cannot be found")]
    FrameworkUnknown,
    /// No such executor here.
    #[error("Executor cannot be found")]
    ExecutorUnknown,
    /// It has to subscribe first.
    #[error("Executor is not subscribed")]
    NotSubscribed,
}

impl Effects {
    pub(super) fn persist(&mut self, record: Record) {
        self.persist.push(record);
    }

    pub(super) fn act(&mut self, effect: Effect) {
        self.after_persist.push(effect);
    }

    pub(super) fn tell_master(&mut self, message: ToMaster) {
        self.after_persist.push(Effect::ToMaster(message));
    }

    pub(super) fn tell_executor(&mut self, connection: ConnectionId, event: ExecutorEvent) {
        self.after_persist.push(Effect::ToExecutor { connection, event });
    }

    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refusal>) {
        self.after_persist.push(Effect::Reply { request, result });
    }
}
