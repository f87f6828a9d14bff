//! Executors: what an agent starts to run tasks, and the executor API's calls and events.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    agent::AgentInfo,
    framework::FrameworkInfo,
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    labels::Labels,
    resources::Resources,
    task::{TaskInfo, TaskStatus},
};

/// The label that asks the agent to keep an executor's tasks alive over the executor's own end: the agent starts it
/// again, hands it every unfinished task with LAUNCH, and the executor adopts what still runs. See `docs/decisions`.
pub const RESPAWN_LABEL: &str = "catamaran.dev/respawn";

/// An executor's description (Mesos `ExecutorInfo`).
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorInfo {
    /// How it runs.
    pub kind: ExecutorKind,
    /// Unique within framework and agent.
    pub executor_id: ExecutorId,
    /// Filled in by the master.
    pub framework_id: Option<FrameworkId>,
    /// What to run, for `Custom` and `Command`.
    pub command: Option<CommandInfo>,
    /// Its own overhead, charged once.
    pub resources: Resources,
    /// A name for people.
    pub name: String,
    /// An old grouping key, still shown.
    pub source: String,
    /// Bytes for the executor.
    pub data: Bytes,
    /// How long it may take to shut down.
    pub shutdown_grace: Option<Duration>,
    /// Free labels; see [`RESPAWN_LABEL`].
    pub labels: Labels,
    /// Fields of the wire message that the kernel carries and does not read.
    pub extra: Bytes,
}

impl ExecutorInfo {
    /// Whether the agent starts it again after its end; see [`RESPAWN_LABEL`].
    pub fn respawns(&self) -> bool {
        self.labels.get(RESPAWN_LABEL) == Some("true")
    }
}

/// How an executor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutorKind {
    /// The agent's own, for tasks with a command and no executor.
    Command,
    /// A program of the framework's.
    Custom,
    /// Mesos' built-in pod executor.
    Default,
}

/// A command line (Mesos `CommandInfo`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommandInfo {
    /// Run `value` through `/bin/sh -c`.
    pub shell: bool,
    /// The shell line, or the program.
    pub value: Option<String>,
    /// The whole argument vector, `argv[0]` included, where `shell` is false.
    pub arguments: Vec<String>,
    /// Variables, in order.
    pub environment: Vec<(String, String)>,
    /// The user to run as.
    pub user: Option<String>,
    /// What to fetch into the sandbox first.
    pub uris: Vec<Uri>,
    /// Fields of the wire message that the kernel carries and does not read.
    pub extra: Bytes,
}

/// Something to fetch into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Uri {
    pub value: String,
    pub executable: bool,
    pub extract: bool,
    pub cache: bool,
    pub output_file: Option<String>,
}

/// From an executor to its agent.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Call {
    Subscribe { unacknowledged_tasks: Vec<TaskId>, unacknowledged_updates: Vec<TaskStatus> },
    Update { status: Arc<TaskStatus> },
    Message { data: Bytes },
    Heartbeat,
}

/// From the agent to an executor.
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
}
