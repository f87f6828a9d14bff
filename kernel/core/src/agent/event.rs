//! Every way into the agent machine.

use kernel_model::{
    agent::ToAgent,
    executor::Call,
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    task::{Reason, TaskStatus},
};

use crate::effect::RequestId;

/// One open event stream of an executor. Fresh for every subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// There is a fresh, working link to a master.
    LinkUp,
    /// The link broke.
    LinkDown,
    /// The master said something on the present link.
    FromMaster(ToAgent),
    /// An executor opened an event stream.
    Subscribe {
        /// To answer.
        request: RequestId,
        /// The stream.
        connection: ConnectionId,
        /// Whose executor.
        framework_id: FrameworkId,
        /// Which.
        executor_id: ExecutorId,
        /// Tasks that it received and of which no update was acknowledged.
        unacknowledged_tasks: Vec<TaskId>,
        /// Updates that were not acknowledged to it.
        unacknowledged_updates: Vec<TaskStatus>,
    },
    /// An executor called. SUBSCRIBE comes as its own event.
    Call {
        /// To answer.
        request: RequestId,
        /// Whose executor.
        framework_id: FrameworkId,
        /// Which.
        executor_id: ExecutorId,
        /// What it says.
        call: Call,
    },
    /// An executor's event stream ended.
    Disconnected {
        /// Whose executor.
        framework_id: FrameworkId,
        /// Which.
        executor_id: ExecutorId,
        /// The stream.
        connection: ConnectionId,
    },
    /// A container could not be started. Nothing of it runs.
    StartFailed {
        /// Which.
        container_id: ContainerId,
        /// Why, for people.
        message: String,
    },
    /// A container ended, and nothing of it runs any more.
    Exited {
        /// Which.
        container_id: ContainerId,
        /// The raw wait status; 0 where it cannot be known.
        status: i32,
        /// The limit that it broke, if that is what ended it, with a sentence.
        limitation: Option<(Reason, String)>,
    },
    /// End what runs here and then stop: tasks of ordinary executors are killed, those of respawned ones wait for the
    /// next start. [`super::Effect::Stopped`] tells when all is done. Asked again, it kills what still runs.
    Stop,
    /// Time passed.
    Tick,
}
