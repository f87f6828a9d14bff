//! What a listing of the runtime shows of one Pod.

use jiff::Timestamp;

/// One look at the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When the listing was begun: what finished later is not in it.
    pub at: Timestamp,
    /// The Pod's sandboxes, in any order.
    pub sandboxes: Vec<SandboxSeen>,
    /// The Pod's containers, in any order.
    pub containers: Vec<ContainerSeen>,
}

/// A sandbox in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSeen {
    /// The runtime's id.
    pub id: String,
    /// Which attempt of the Pod's it is.
    pub attempt: u32,
    /// Whether its namespaces stand.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its addresses; empty on the host's network.
    pub ips: Vec<String>,
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSeen {
    /// The runtime's id.
    pub id: String,
    /// The sandbox that it is in.
    pub sandbox_id: String,
    /// The name in the Pod's spec.
    pub name: String,
    /// The runtime's attempt number: unique per name and Pod, growing.
    pub attempt: u32,
    /// How often the container had been restarted when this instance was made.
    pub restart_count: u32,
    /// Hash of what may not change while it runs; see [`crate::spec::container_hash`].
    pub hash: String,
    /// The image as the spec names it.
    pub image: String,
    /// The image as the runtime identified it.
    pub image_id: String,
    /// Where it stands.
    pub state: RunState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
}

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, 128 + signal for a signal.
    pub code: i32,
    /// The runtime's word for it, or ours.
    pub reason: String,
    /// The termination message.
    pub message: Option<String>,
    /// When.
    pub finished_at: Timestamp,
}

impl ContainerSeen {
    /// The exit, if it ended.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            RunState::Exited(exit) => Some(exit),
            RunState::Created | RunState::Running => None,
        }
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.state == RunState::Running
    }

    /// An instance that cannot run any more, and of whose end nothing is known.
    pub fn lose(&mut self, now: Timestamp) {
        if self.exit().is_none() {
            self.state = RunState::Exited(crate::machine::slot::vanished(now));
        }
    }
}
