//! What runs containers, as a trait: processes of the machine ([`super::processes`]), and containers of images in the machine's
//! container runtime ([`super::images`]). Each container is known by its path, so containers can be below others, and share
//! their lives.

use std::{io, path::PathBuf};

use async_trait::async_trait;
use kernel_core::agent::Limits;
use kernel_model::{container_path::ContainerPath, container_usage::ContainerUsage};
use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{
    cgroups::MemoryExceeded,
    launch::{LaunchError, LaunchPlan},
    process::Process,
    sandbox::Sandbox,
};
use crate::images::ImageContainerConfig;

/// Runs containers.
#[async_trait]
pub(crate) trait Containerizer: Send + Sync + 'static {
    /// Starts a container, and returns when its first process is about to run its program. If that fails, nothing is left.
    async fn launch(&self, launch: Launch) -> Result<(), LaunchError>;

    /// Connects to the input and output of a container.
    async fn attach(&self, path: &ContainerPath) -> Result<UnixStream, AttachError>;

    /// Waits until no process of a container is left; `None` if there is no such container. The ends of containers below others
    /// are known until the outermost one is removed, those of outermost ones until they are removed themselves.
    async fn wait(&self, path: &ContainerPath) -> Option<Termination>;

    /// Sends a signal to a container's first process. False if there is no such container.
    fn kill(&self, path: &ContainerPath, signal: Signal) -> io::Result<bool>;

    /// Kills all processes of a container and of those below it; [`Containerizer::wait`] waits for their end.
    fn destroy(&self, path: &ContainerPath);

    /// Changes the limits of a running container.
    fn update(&self, path: &ContainerPath, limits: Limits);

    /// A running container; `None` if there is no such container.
    fn status(&self, path: &ContainerPath) -> Option<Status>;

    /// The user of a container that runs, or whose end is known.
    fn user(&self, path: &ContainerPath) -> Option<String>;

    /// The current usage of a container, if it is known.
    fn usage(&self, path: &ContainerPath) -> Option<ContainerUsage>;
    /// See [`ImageRuntime::revocable_pods_cpu_seconds`](crate::images::ImageRuntime::revocable_pods_cpu_seconds).
    fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        None
    }

    /// The memory limit that a process of a container was killed for.
    fn memory_exceeded(&self, path: &ContainerPath) -> Option<MemoryExceeded>;

    /// The running containers.
    fn containers(&self) -> Vec<ContainerPath>;

    /// Finds the containers of an earlier run of the agent: watches those that run, and kills what is left of others.
    fn recover(&self) -> Recovered;

    /// Removes a container that has ended, and what is known of those below it. Succeeds if there is none.
    async fn remove(&self, path: &ContainerPath);

    /// Watches nothing any more: the containers that run are the next agent's.
    fn abandon(&self);

    /// Removes what containers share, unless some still run.
    fn close(&self);
}

/// A container to start.
pub(crate) struct Launch {
    pub(crate) path: ContainerPath,
    pub(crate) sandbox: Sandbox,
    pub(crate) plan: LaunchPlan,
    /// Where its program starts, if not in the sandbox.
    pub(crate) directory: Option<Sandbox>,
    /// `None` for a container without limits of its own.
    pub(crate) limits: Option<Limits>,
    /// Whether its first process may leave others, as respawned executors do.
    pub(crate) keeps_children: bool,
    pub(crate) streams: Streams,
    /// Whether its exit status is known after a restart of the agent. That of a container below another always is.
    pub(crate) is_supervised: bool,
    /// What a session below it inherits.
    pub(crate) surroundings: Surroundings,
    /// The container of an image that it needs.
    pub(crate) image: Option<ImageUse>,
    /// Cancelled once it is to be destroyed.
    pub(crate) stop: CancellationToken,
}

/// Where the input of a container comes from, and its output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// It has no input, and its output goes to files of its sandbox.
    Files,
    /// As well to and from whoever attaches.
    Attachable {
        terminal: Option<WindowSize>,
        /// It waits for the first to attach, and ends with the agent.
        is_session: bool,
    },
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct WindowSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// What containers inherit of the one that they are below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Surroundings {
    /// The user's name; empty is the agent's own user.
    pub(crate) user: String,
    /// For sessions.
    pub(crate) environment: Vec<(String, String)>,
    /// The directory of sessions.
    pub(crate) directory: PathBuf,
    /// Whether its processes are not on the machine, but in a container of an image.
    pub(crate) in_image: bool,
}

/// How a container uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageUse {
    /// Its program runs in the container of the image.
    Inside(Box<ImageContainerConfig>),
    /// Its program starts the container of the image.
    Beside(Box<ImageContainerConfig>),
    /// Its program enters the container of an image that runs.
    Within {
        /// That container, or the one whose program has started it.
        path: ContainerPath,
        /// Whether it runs as the user of that container's first process.
        as_its_user: bool,
    },
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Termination {
    /// As `wait(2)` gives it; `None` if nobody has waited for it.
    pub(crate) status: Option<i32>,
    /// The memory limit that a process of it was killed for.
    pub(crate) exceeded: Option<MemoryExceeded>,
    /// Why it did not start after all.
    pub(crate) not_started: Option<String>,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its first process.
    pub(crate) process: Process,
    pub(crate) sandbox: PathBuf,
    /// Whether its first process may leave others.
    pub(crate) keeps_children: bool,
    pub(crate) is_supervised: bool,
    pub(crate) surroundings: Surroundings,
}

/// The containers of an earlier run of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Recovered {
    /// They run.
    pub(crate) live: Vec<ContainerPath>,
    /// The outermost ones that have ended.
    pub(crate) ended: Vec<ContainerPath>,
}

/// A container that nobody can attach to. The texts are Mesos'.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("Unknown container {0}")]
    Unknown(ContainerPath),
    #[error("I/O switchboard server was disabled for this container")]
    NotAttachable,
    #[error("Failed to connect to the container's input and output: {0}")]
    Connect(#[from] io::Error),
}

#[cfg(test)]
mod tests;
