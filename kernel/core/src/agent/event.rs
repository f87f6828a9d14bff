//! The events of the agent.

use std::collections::BTreeMap;

use kernel_model::{
    agent::ToAgent,
    executor::{Call, ExecutorInfo},
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    oversubscription::Sample,
    resources::{Scalar, VolumeId},
    task::{Reason, TaskStatus},
};

use crate::effect::RequestId;

/// An open event stream of an executor, with a new number for every subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// An event for the agent.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    /// A new link to a master is up.
    LinkUp,
    /// The link is down.
    LinkDown,
    /// A message from the master on the current link.
    FromMaster(ToAgent),
    /// An executor subscribes on a new event stream.
    Subscribe {
        request: RequestId,
        connection: ConnectionId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        /// Tasks that it received and has no acknowledged update of.
        unacknowledged_tasks: Vec<TaskId>,
        /// Updates that were not acknowledged to it.
        unacknowledged_updates: Vec<TaskStatus>,
    },
    /// Any other call of an executor.
    Call {
        request: RequestId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: Call,
    },
    Disconnected {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        connection: ConnectionId,
    },
    /// A container could not be started; none of its processes run.
    StartFailed {
        container_id: ContainerId,
        message: String,
    },
    /// A container terminated; none of its processes run.
    Exited {
        container_id: ContainerId,
        /// The raw wait status; 0 if unknown.
        status: i32,
        /// The exceeded limit that terminated it.
        limitation: Option<Limitation>,
    },
    /// [`super::Effect::SyncVolumes`] is done. These volumes are not there, each with why.
    VolumesSynced {
        failed: BTreeMap<VolumeId, String>,
    },
    /// The container runtime was asked: why it starts no containers.
    ContainerRuntime {
        failure: Option<String>,
    },
    /// The machine was measured, for oversubscription.
    Sampled(Box<Sample>),
    /// Stop everything and then the agent: tasks of ordinary executors are killed, those of respawned executors wait
    /// for the next start. [`super::Effect::Stopped`] follows when all is done. A second `Stop` kills what still runs.
    Stop,
    Tick,
}

/// A limit that a container has exceeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Limitation {
    /// The reason in the statuses of its tasks.
    pub reason: Reason,
    /// The message in the statuses of its tasks.
    pub message: String,
    /// The encoded fields of the statuses that the kernel does not interpret (`TaskStatus.limitation`).
    pub details: bytes::Bytes,
}

impl Limitation {
    /// The limitation of an executor's container, whose memory is that of the tasks and the executor's own. The first line of the
    /// message says so: who asked for 40 MB would not understand a limit of 72.
    pub fn of_executor(mut self, executor: &ExecutorInfo) -> Self {
        let own = executor.resources.scalar("mem");
        if self.reason == Reason::ContainerLimitationMemory && own > Scalar::default() {
            let first = self.message.lines().next().unwrap_or_default().trim_end();
            self.message.insert_str(first.len(), &format!(" (with {own}MB for the executor)"));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kernel_model::{executor::ExecutorKind, labels::Labels, resources::Resources};

    use super::*;

    #[test]
    fn the_message_says_what_of_the_limit_is_the_executors() {
        let message = |of: &str, reason, resources: &str| {
            let executor = ExecutorInfo {
                kind: ExecutorKind::Command,
                executor_id: ExecutorId::new("x"),
                framework_id: None,
                command: None,
                resources: resources.parse::<Resources>().unwrap(),
                name: String::new(),
                source: String::new(),
                data: Bytes::new(),
                shutdown_grace: None,
                labels: Labels::default(),
                image: None,
                extra: Bytes::new(),
            };
            let limitation = Limitation { reason, message: of.to_owned(), details: Bytes::new() };
            limitation.of_executor(&executor).message
        };
        let memory = Reason::ContainerLimitationMemory;
        let exceeded = "Memory limit exceeded: Requested: 72MB";
        assert_eq!(
            message(exceeded, memory, "cpus:0.1;mem:32"),
            format!("{exceeded} (with 32MB for the executor)")
        );
        assert_eq!(
            message(&format!("{exceeded} \n\nMEMORY"), memory, "mem:32"),
            format!("{exceeded} (with 32MB for the executor) \n\nMEMORY"),
            "in the first line"
        );
        assert_eq!(message(exceeded, memory, "cpus:1"), exceeded);
        assert_eq!(message(exceeded, Reason::ContainerLimitationDisk, "mem:32"), exceeded);
    }
}
