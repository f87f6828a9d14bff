//! Executors, and the calls and events of the executor API.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    agent::AgentInfo,
    container::ImageContainer,
    framework::FrameworkInfo,
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    labels::Labels,
    resources::Resources,
    task::{TaskInfo, TaskStatus},
};

/// The label that makes an executor respawn: when it ends, the agent starts it again and sends it LAUNCH for every
/// unfinished task, and the executor adopts what still runs (docs/decisions/0004).
pub const RESPAWN_LABEL: &str = "catamaran.dev/respawn";

/// An executor's description (Mesos `ExecutorInfo`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ExecutorInfo {
    pub kind: ExecutorKind,
    /// Unique within framework and agent.
    pub executor_id: ExecutorId,
    /// Set by the master.
    pub framework_id: Option<FrameworkId>,
    /// The command of `Custom` and `Command` executors.
    pub command: Option<CommandInfo>,
    /// The executor's own resources, charged once per agent.
    pub resources: Resources,
    /// A display name.
    pub name: String,
    /// A deprecated identifier that the HTTP endpoints still return.
    pub source: String,
    /// Opaque bytes for the executor.
    pub data: Bytes,
    /// The time between SHUTDOWN and a forced kill.
    pub shutdown_grace: Option<Duration>,
    /// See [`RESPAWN_LABEL`].
    pub labels: Labels,
    /// The container of an image that it runs in; also part of `extra`.
    pub image: Option<Arc<ImageContainer>>,
    /// The encoded fields of the wire message that the kernel does not interpret.
    pub extra: Bytes,
}

impl ExecutorInfo {
    /// Whether the agent starts it again when it ends; see [`RESPAWN_LABEL`].
    pub fn respawns(&self) -> bool {
        self.labels.get(RESPAWN_LABEL) == Some("true")
    }
}

/// An executor's type (Mesos `ExecutorInfo.Type`, and the built-in command executor).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutorKind {
    /// The agent's built-in executor for tasks with a command and no executor.
    Command,
    /// A program of the framework.
    Custom,
    /// Mesos' built-in executor for task groups.
    Default,
}

/// A command line (Mesos `CommandInfo`).
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct CommandInfo {
    /// Whether `value` runs through `/bin/sh -c`.
    pub shell: bool,
    /// The shell line, or the program's path.
    pub value: Option<String>,
    /// The whole argument vector, `argv[0]` included, if `shell` is false.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub user: Option<String>,
    /// The URIs to fetch into the sandbox before the start.
    pub uris: Vec<Uri>,
    /// The encoded fields of the wire message that the kernel does not interpret.
    pub extra: Bytes,
}

/// A URI to fetch into the sandbox (Mesos `CommandInfo.URI`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Uri {
    pub value: String,
    pub executable: bool,
    pub extract: bool,
    pub cache: bool,
    pub output_file: Option<String>,
}

/// A call from an executor to its agent (Mesos `executor::Call`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Call {
    Subscribe {
        unacknowledged_tasks: Vec<TaskId>,
        unacknowledged_updates: Vec<TaskStatus>,
    },
    Update {
        status: Arc<TaskStatus>,
    },
    Message {
        data: Bytes,
    },
    Heartbeat,
    /// Asks that a task hold these amounts from now on; scalars that are not named stay. Not of Mesos, for Pods that are resized in
    /// place. [`Event::TaskResized`] is the answer.
    ResizeTask {
        task_id: TaskId,
        amounts: Resources,
    },
}

/// An event from the agent to an executor (Mesos `executor::Event`).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Event {
    Subscribed {
        executor: Arc<ExecutorInfo>,
        framework: Arc<FrameworkInfo>,
        agent: Arc<AgentInfo>,
        container_id: ContainerId,
    },
    Launch {
        task: Box<TaskInfo>,
    },
    LaunchGroup {
        tasks: Vec<TaskInfo>,
    },
    Kill {
        task_id: TaskId,
        grace: Option<Duration>,
    },
    Acknowledged {
        task_id: TaskId,
        uuid: UpdateId,
    },
    Message {
        data: Bytes,
    },
    Error {
        message: String,
    },
    Shutdown,
    Heartbeat,
    /// A task is to end because of the state of the machine, with this message. Not of Mesos: it is sent to executors that respawn,
    /// because Mesos' agent kills the whole executor.
    Evict {
        task_id: TaskId,
        message: String,
    },
    /// What a task holds now, after [`Call::ResizeTask`]: less than asked for if the agent has no room.
    TaskResized {
        task_id: TaskId,
        resources: Resources,
    },
}
