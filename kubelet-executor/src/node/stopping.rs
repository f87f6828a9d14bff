//! The progress of a node stop, in a file: the agent's process shows which Pods it waits for. The executor tells nobody else,
//! because the Pods start again with the node.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A node that is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppingNode {
    /// The names of the Pods that have not stopped yet, as `namespace/name`.
    pub pods: Vec<String>,
    /// When the last of them is killed, in milliseconds since 1970.
    deadline_ms: u64,
}

fn file(config: &Config) -> PathBuf {
    config.root_dir.join("stopping.json")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl StoppingNode {
    /// A stop that kills the last Pod after this time.
    pub(crate) fn new(left: Duration) -> Self {
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Self { pods: Vec::new(), deadline_ms: now_ms().saturating_add(left) }
    }

    /// Reads the progress; `None` if no stop is in progress.
    pub fn read(config: &Config) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file(config)).ok()?).ok()
    }

    /// How long until the last Pod is killed.
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.saturating_sub(now_ms()))
    }

    /// How long ago the last Pod should have been killed.
    pub(crate) fn overdue(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.deadline_ms))
    }

    /// Writes the progress; a reader sees the whole of it or the former one.
    pub(crate) fn write(&self, config: &Config) {
        let write = || {
            let unfinished = config.root_dir.join("stopping.new");
            std::fs::write(&unfinished, serde_json::to_vec(self)?)?;
            std::fs::rename(&unfinished, file(config))
        };
        if let Err(error) = write() {
            // The stop goes on, without names in its progress.
            tracing::debug!(%error, "cannot write the progress of the stop");
        }
    }

    /// Removes the progress of a stop that has ended.
    pub(crate) fn remove(config: &Config) {
        let _ = std::fs::remove_file(file(config));
    }
}
