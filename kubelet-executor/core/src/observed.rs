//! What a listing of the runtime shows of one Pod.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::resources::CgroupLimits;

/// The part of a listing that belongs to one Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPod {
    /// When the listing began: later changes are not in it.
    pub at: Timestamp,
    /// The Pod's sandboxes, in any order.
    pub sandboxes: Vec<ObservedSandbox>,
    /// The Pod's containers, in any order.
    pub containers: Vec<ObservedContainer>,
    /// The highest attempt with a log, by container name: a log outlives its instance. Read before the first listing
    /// of a machine; later ones may leave it empty.
    pub logged: BTreeMap<String, u32>,
}

/// A sandbox in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ObservedSandbox {
    /// The runtime's id.
    pub id: String,
    /// The attempt number of the Pod's sandboxes.
    pub attempt: u32,
    /// Whether its namespaces exist.
    pub ready: bool,
    pub created_at: Timestamp,
    /// Its addresses; empty with host networking.
    pub ips: Vec<String>,
}

/// A container in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ObservedContainer {
    /// The runtime's id; empty if only the log of the instance is left.
    pub id: String,
    pub sandbox_id: String,
    /// The container's name in the Pod's spec.
    pub name: String,
    /// The attempt number in the runtime: unique per container and Pod, ascending.
    pub attempt: u32,
    /// The restart count when this instance was created.
    pub restart_count: u32,
    /// Hash of the immutable part of the container's spec; see [`crate::spec::container_hash`].
    pub hash: String,
    /// The image name in the spec.
    pub image: String,
    /// The image id in the runtime.
    pub image_id: String,
    pub state: RunState,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// What its cgroup had when it was read; `None` if it could not be read.
    pub applied: Option<CgroupLimits>,
}

/// The state of a container in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RunState {
    /// Created, never started.
    Created,
    Running,
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Exit {
    /// The exit code; 128 + n for signal n.
    pub code: i32,
    /// The runtime's reason, or ours.
    pub reason: String,
    pub message: Option<String>,
    pub finished_at: Timestamp,
}

impl ObservedContainer {
    /// The exit of an instance that has ended.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            RunState::Exited(exit) => Some(exit),
            RunState::Created | RunState::Running => None,
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.state == RunState::Running
    }

    /// Marks an instance as ended whose exit is unknown.
    pub fn mark_lost(&mut self, now: Timestamp) {
        if self.exit().is_none() {
            self.state = RunState::Exited(crate::machine::container::lost_exit(now));
        }
    }
}
