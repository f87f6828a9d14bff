//! Containers of images, in which tasks and executors of frameworks run: what the agent needs of the machine's container runtime.
//!
//! A process of the agent's stands for each container: it pulls the image, starts the container, passes signals on to it and copies
//! its output, and ends with its exit code. So whatever waits for a process or recovers it does so for a container too.

use std::{fmt, io, path::PathBuf};

use async_trait::async_trait;
use kernel_model::{container::ContainerNetwork, container_usage::ContainerUsage, ids::ContainerId};
use serde_json::{Value, json};

/// Where the sandbox is in the container (Mesos' `--sandbox_directory`).
pub const SANDBOX_DIRECTORY: &str = "/mnt/mesos/sandbox";

/// The container runtime of a machine.
#[async_trait]
pub trait ImageRuntime: fmt::Debug + Send + Sync + 'static {
    /// Waits until containers can be started; the text says why they cannot.
    async fn ready(&self) -> Result<(), String>;
    /// Why no container could be started now. A runtime that is started when it is needed is ready until then.
    async fn unavailable(&self) -> Option<String>;
    /// Records a container, for [`ImageRuntime::recorded`], and returns how to run it.
    fn prepare(&self, container: &ImageContainerConfig) -> io::Result<ContainerCommands>;
    /// A container that was started; it may have ended.
    fn running(&self, container_id: &ContainerId) -> Option<RunningContainer>;
    /// Why a container could not be started, or did not end by itself.
    fn failure(&self, container_id: &ContainerId) -> Option<ContainerFailure>;
    /// Changes the limits of a running container.
    async fn set_limits(&self, container_id: &ContainerId, limits: ContainerLimits);
    /// The current usage of a running container.
    fn usage(&self, container_id: &ContainerId) -> Option<ContainerUsage>;
    /// The seconds of CPU that Pods have used whose CPUs are revocable, since any time; `None` if that cannot be measured.
    fn revocable_pods_cpu_seconds(&self) -> Option<f64>;
    /// The containers that were prepared and are not removed.
    fn recorded(&self) -> Vec<ContainerId>;
    /// Kills what is left of a container, and removes it with its record. Succeeds if it does not exist.
    async fn remove(&self, container_id: &ContainerId);
    /// Starts no runtime any more, because the machine stops.
    fn close(&self);
}

/// The processes of a machine that deal with one container. They need the agent's user, and none of the framework's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCommands {
    /// Runs the container until its end.
    pub run: Vec<String>,
    /// Is there once the container runs; see [`RunningContainer`].
    pub running: PathBuf,
    /// Is there if the container could not be started: why.
    pub failed: PathBuf,
    /// Runs a program in the running container and ends with its exit code, with these arguments and those of the program.
    pub exec: Vec<String>,
    /// Variables of these processes.
    pub environment: Vec<(String, String)>,
}

impl ContainerCommands {
    /// As text, for a process that is told about them.
    pub(crate) fn to_text(&self) -> String {
        let paths = [&self.running, &self.failed].map(|path| path.display().to_string());
        json!({ "run": self.run, "exec": self.exec, "paths": paths, "environment": self.environment })
            .to_string()
    }

    /// Parses the text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let words = |value: &Value| value.as_array()?.iter().map(word).collect::<Option<Vec<String>>>();
        let variable = |pair: &Value| Some((word(&pair[0])?, word(&pair[1])?));
        Some(Self {
            run: words(&value["run"])?,
            running: word(&value["paths"][0])?.into(),
            failed: word(&value["paths"][1])?.into(),
            exec: words(&value["exec"])?,
            environment: value["environment"].as_array()?.iter().map(variable).collect::<Option<_>>()?,
        })
    }
}

/// How a container is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContainerConfig {
    /// Names the container.
    pub container_id: ContainerId,
    /// As `docker pull` takes it.
    pub image: String,
    /// Whether to pull an image that the machine has.
    pub force_pull: bool,
    /// What it runs.
    pub program: ContainerProgram,
    /// Variables beyond those of the image.
    pub environment: Vec<(String, String)>,
    /// The directory of the program.
    pub directory: WorkingDirectory,
    /// The user; `None` is the image's.
    pub user: Option<ContainerUser>,
    /// The sandbox, which belongs to the user of the container.
    pub sandbox: PathBuf,
    /// Other paths of the machine in the container.
    pub mounts: Vec<ContainerMount>,
    /// The machine's network, or that of its Pods.
    pub network: ContainerNetwork,
    /// Whether the image's file system cannot be written.
    pub read_only: bool,
    /// `None` if it runs without limits.
    pub limits: Option<ContainerLimits>,
}

/// The program of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerProgram {
    /// Replaces that of the image.
    Own(Vec<String>),
    /// The image's entrypoint with these arguments, or with the image's own if there are none. The arguments replace the image's
    /// program if it has no entrypoint.
    Entrypoint(Vec<String>),
    /// The same, but if the image has no entrypoint, the arguments are those of its program.
    Image(Vec<String>),
}

/// The directory in which a container's program starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkingDirectory {
    /// The image's.
    Image,
    /// The image's, or the sandbox if it has none.
    ImageOrSandbox,
    /// This one.
    Path(String),
}

/// The user of a container's processes, by number: the image may have other names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerUser {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// A path of the machine in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerMount {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub read_only: bool,
}

/// The limits of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerLimits {
    pub cpu_shares: i64,
    pub memory_bytes: i64,
}

/// A container that did not start, or did not end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerFailure {
    /// Why it was not started.
    NotStarted(String),
    /// A process of it was killed because the container exceeded this limit.
    MemoryExceeded(ContainerLimits),
}

/// What [`ContainerCommands::running`] says, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its first process on the machine.
    pub pid: i32,
    /// Its address, if it has one of its own.
    pub address: Option<String>,
}

impl RunningContainer {
    /// Parses the line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self { pid: words.next()?.parse().ok()?, address: words.next().map(str::to_owned) })
    }

    /// The line.
    pub fn to_line(&self) -> String {
        format!("{} {}\n", self.pid, self.address.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_container_is_read_as_it_is_written() {
        for address in [None, Some("10.1.2.3".to_owned())] {
            let running = RunningContainer { pid: 17, address };
            assert_eq!(RunningContainer::parse(&running.to_line()), Some(running));
        }
        assert_eq!(RunningContainer::parse(""), None);
    }

    #[test]
    fn commands_are_read_as_they_are_written() {
        let commands = ContainerCommands {
            run: vec!["a".into(), "b c".into()],
            running: "/r".into(),
            failed: "/f".into(),
            exec: vec!["e".into()],
            environment: vec![("A".into(), "1=2".into())],
        };
        assert_eq!(ContainerCommands::parse(&commands.to_text()), Some(commands));
        assert_eq!(ContainerCommands::parse("{}"), None);
    }
}
