//! Containers of images in which tasks and executors of frameworks run, beside the Pods and in the same runtime.
//!
//! ```text
//!  agent ── prepare ──▶ <root>/tasks/ID/container.json
//!        ── starts ───▶ runner: pulls the image, starts the container, copies its output, ends with its exit code
//!        ── remove ───▶ kills what is left, removes sandbox, cgroup and directory
//! ```
//!
//! One process per container, the runner, stands for it: whoever waits for a process or kills it need not know the runtime. The
//! runner holds a lock on its container's file while it lives. It starts no runtime, because containerd would belong to the task.

mod cri_config;
mod described;
mod exec;
mod output;
mod repeated;
mod runner;
mod tasks;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use exec::exec;
pub use runner::run;
pub use tasks::TaskContainers;

use crate::{config::Config, machine::cgroups, runtime::containerd};

/// How often it is looked whether runners have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How a container is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContainer {
    /// Names the container, its directory and its cgroup.
    pub id: String,
    /// The image's name.
    pub image: String,
    /// Whether to pull an image that the node has.
    pub force_pull: bool,
    /// What it runs.
    pub program: Program,
    /// Variables beyond those of the image.
    pub environment: Vec<(String, String)>,
    /// The directory of the program.
    pub directory: Directory,
    /// The user; `None` is the image's.
    pub user: Option<User>,
    /// The task's directory, and where it is in the container. It is given to the image's user, if that is the container's.
    pub sandbox: Mount,
    /// Other paths of the machine in the container.
    pub mounts: Vec<Mount>,
    /// Ports of the machine that lead to ports of the container in the Pods' network; `None` for the machine's network.
    pub ports: Option<Vec<Port>>,
    /// Whether the image's file system cannot be written.
    pub read_only: bool,
    /// `None` for a container without limits.
    pub limits: Option<Limits>,
}

/// The program of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// Replaces that of the image.
    Own(Vec<String>),
    /// The image's entrypoint with these arguments, or with the image's if there are none.
    Entrypoint(Vec<String>),
    /// The same, but if the image has no entrypoint, the arguments are those of its program.
    Image(Vec<String>),
}

/// The directory in which a program starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directory {
    /// The image's.
    Image,
    /// The image's, or the sandbox if it has none.
    ImageOrSandbox,
    /// This one.
    Path(String),
}

/// The user of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// A path of the machine in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Mount {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub read_only: bool,
}

/// A port of the machine that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Port {
    pub host_port: u16,
    pub container_port: u16,
    pub udp: bool,
}

/// The limits of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Limits {
    pub cpu_shares: i64,
    pub memory_bytes: i64,
}

/// Labels of sandboxes and containers.
pub(crate) mod labels {
    /// The id of the task's container.
    pub(crate) const CONTAINER: &str = "catamaran.dev/task-container";
    /// The node that runs it, as [`crate::runtime::labels::NODE_TAG`] does for Pods.
    pub(crate) const NODE: &str = "catamaran.dev/task-node";
}

/// The directory of a container's files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    fn all(config: &Config) -> PathBuf {
        config.root_dir.join("tasks")
    }

    pub(crate) fn of(config: &Config, id: &str) -> Self {
        Self { directory: Self::all(config).join(id) }
    }

    /// The configuration.
    fn container(&self) -> PathBuf {
        self.directory.join("container.json")
    }

    /// Is there once the container runs: its first process, and its address.
    fn running(&self) -> PathBuf {
        self.directory.join("running")
    }

    /// Is there if the container was not started: why.
    fn failed(&self) -> PathBuf {
        self.directory.join("failed")
    }

    /// Is there if a process was killed for memory.
    fn exceeded(&self) -> PathBuf {
        self.directory.join("exceeded")
    }

    /// The name of the log in the directory, which the runtime writes.
    const LOG: &str = "log";

    fn read(&self) -> io::Result<TaskContainer> {
        serde_json::from_slice(&fs::read(self.container())?).map_err(io::Error::other)
    }

    /// Writes a file in one step.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let temporary = self.directory.join(".new");
        fs::write(&temporary, text)?;
        fs::rename(&temporary, path)
    }

    /// The runner's lock; `None` if another one has it.
    fn lock(&self) -> io::Result<Option<File>> {
        let file = File::open(self.container())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The cgroup of a container's sandbox and processes. (Each cgroup of version 1 has a file called `tasks`.)
fn group(config: &Config, id: &str) -> String {
    format!("{}/mesos/{id}", cgroups::node_group(&config.tag()))
}

/// The socket of the node's runtime.
fn socket(config: &Config) -> PathBuf {
    match &config.cri_endpoint {
        Some(endpoint) => PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint)),
        None => containerd::Paths::of(config).socket,
    }
}

/// The ids of the containers that have files.
fn recorded(config: &Config) -> Vec<String> {
    let entries = fs::read_dir(Files::all(config)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Waits until no runner lives. A node that stops needs the runtime until then.
pub(crate) async fn wait_until_ended(config: &Config) {
    let lives = |id: &String| matches!(Files::of(config, id).lock(), Ok(None));
    while recorded(config).iter().any(lives) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_waits_for_its_runners() {
        let root = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "node_name": "n", "node_ip": "127.0.0.1", "root_dir": root.path(), "api_server": "https://x", "ca_file": "",
            "cert_file": "", "key_file": "",
        });
        let config: Config = serde_json::from_value(config).unwrap();
        wait_until_ended(&config).await;
        let files = Files::of(&config, "c1");
        fs::create_dir_all(&files.directory).unwrap();
        files.write(&files.container(), "{}").unwrap();
        wait_until_ended(&config).await;
        assert_eq!(recorded(&config), ["c1"]);
        let lock = files.lock().unwrap();
        assert!(lock.is_some() && files.lock().unwrap().is_none());
        let waits = tokio::time::timeout(POLL_INTERVAL * 3, wait_until_ended(&config)).await;
        assert!(waits.is_err());
        drop(lock);
        wait_until_ended(&config).await;
    }
}
