//! Containers that clients of the agent's operator API start: below the container of an executor, whose life they share, or on
//! their own ("standalone").
//!
//! One below another runs as the other's user and in its cgroup, with a sandbox in that of the executor. A session (Mesos'
//! container class DEBUG) has the variables and the directory of the container above as well, and is in its image. A container of an
//! image has limits of its own.

mod preparation;

use std::{
    io,
    path::{Path, PathBuf},
};

use kernel_core::agent::{Limits, LinkedVolume};
use kernel_model::{container::ImageContainer, container_path::ContainerPath, executor::CommandInfo};
use rustix::process::Signal;
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Run, Runtime,
    containerizer::{AttachError, Launch, Streams, Surroundings, Termination, WindowSize},
    credentials,
    launch::LaunchError,
    sandbox::Sandbox,
};
use preparation::{Preparation, Prepared};

/// A container to start.
#[derive(Debug, Clone)]
pub(crate) struct NestedLaunch {
    pub(crate) path: ContainerPath,
    pub(crate) command: CommandInfo,
    /// The size of its terminal, if it has one.
    pub(crate) terminal: Option<WindowSize>,
    /// Whether it ends with whoever has started it.
    pub(crate) is_session: bool,
    /// Of one that is below no other, or of an image.
    pub(crate) limits: Option<Limits>,
    /// The image that it runs in.
    pub(crate) image: Option<ImageContainer>,
    /// The persistent volumes in the sandbox of the executor that it is below.
    pub(crate) volumes: Vec<LinkedVolume>,
    /// The task whose container it is below, if an executor has made that container itself.
    pub(crate) task: Option<TaskAbove>,
}

/// A task in a container that its executor has made, as the default executor does. The agent knows it by the task's status only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskAbove {
    pub(crate) user: String,
    /// Of its command.
    pub(crate) environment: Vec<(String, String)>,
}

/// A container that is not started. The texts of the first three are Mesos'.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NestedError {
    /// This is no failure in Mesos.
    #[error("the container exists")]
    Exists,
    #[error("Parent container {0} does not exist")]
    ParentUnknown(ContainerPath),
    #[error("Parent container {0} is in 'DESTROYING' state")]
    ParentDestroying(ContainerPath),
    #[error("Containers below container {0} are not supported: its processes are not in it")]
    ParentKeepsChildren(ContainerPath),
    #[error("{0}")]
    Failed(#[from] LaunchError),
}

/// A container that is being started.
pub(crate) struct Launching {
    started: JoinHandle<Result<(), NestedError>>,
    stop: CancellationToken,
}

impl Launching {
    /// Names this run of the container, for [`Runtime::end_run`].
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until its program is about to run. Nothing depends on somebody who waits.
    pub(crate) async fn started(self) -> Result<(), NestedError> {
        self.started.await.unwrap_or(Err(NestedError::Failed(LaunchError::Panicked)))
    }
}

/// A container that is not removed. The texts are Mesos'.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    #[error("Nested container has not terminated yet")]
    Running,
    #[error("Unknown root container")]
    RootUnknown,
    #[error("Failed to remove the sandbox directory: {0}")]
    Sandbox(io::Error),
}

impl Runtime {
    /// The user that a container would run as, and that of the container above; empty is the agent's own.
    pub(crate) fn user_of(&self, launch: &NestedLaunch) -> Result<(String, String), NestedError> {
        let above = self.surroundings(launch)?.user;
        Ok((launch.command.user.clone().unwrap_or_else(|| above.clone()), above))
    }

    /// The user of a container that is there, or of which something is recorded. One that is not known is as the outermost one.
    pub(crate) fn user_in(&self, path: &ContainerPath) -> Option<String> {
        let starting = self.runs().get(path).and_then(|run| run.user.clone());
        let of_outermost = || match path.is_nested() {
            true => self.inner.containers.user(&path.root_id().into()),
            false => None,
        };
        starting.or_else(|| self.inner.containers.user(path)).or_else(of_outermost)
    }

    /// The user of what is left of a container. Blocks.
    pub(crate) fn user_of_left(&self, path: &ContainerPath) -> Option<String> {
        let standalone = || match path.is_nested() {
            true => None,
            false => credentials::owner(&self.inner.paths.standalone().join(path.root_id().as_str())),
        };
        self.user_in(path).or_else(standalone)
    }

    /// Whether there is such a container, which may be about to start.
    pub(crate) fn exists(&self, path: &ContainerPath) -> bool {
        self.runs().contains_key(path)
    }

    /// What a container inherits of the one above.
    fn surroundings(&self, launch: &NestedLaunch) -> Result<Surroundings, NestedError> {
        let Some(above) = launch.path.parent() else { return Ok(Surroundings::default()) };
        let parent = if launch.task.is_some() { above.root_id().into() } else { above.clone() };
        let Some(status) = self.inner.containers.status(&parent) else {
            return Err(NestedError::ParentUnknown(parent));
        };
        if status.keeps_children {
            return Err(NestedError::ParentKeepsChildren(parent));
        }
        let Some(task) = &launch.task else { return Ok(status.surroundings) };
        let directory = status.sandbox.join(below_root(&above));
        let own = ["MESOS_SANDBOX", "MESOS_DIRECTORY"];
        let mut environment = status.surroundings.environment;
        environment.retain(|(name, _)| !own.contains(&name.as_str()));
        environment.extend(own.map(|name| (name.to_owned(), directory.display().to_string())));
        environment.extend(task.environment.iter().cloned());
        Ok(Surroundings { user: task.user.clone(), environment, directory, in_image: false })
    }

    /// Starts a container in a task of its own, which completes whoever waits for it.
    pub(crate) fn launch_nested(&self, launch: NestedLaunch) -> Result<Launching, NestedError> {
        let stop = self.admit(&launch)?;
        let runtime = self.clone();
        Ok(Launching { started: tokio::spawn(async move { runtime.run_nested(launch).await }), stop })
    }

    /// Takes the path of a container, whose parent must be there.
    fn admit(&self, launch: &NestedLaunch) -> Result<CancellationToken, NestedError> {
        let path = &launch.path;
        let user = self.user_of(launch).ok().map(|(user, _)| user);
        let mut runs = self.runs();
        if runs.contains_key(path) {
            return Err(NestedError::Exists);
        }
        let known = |above: ContainerPath| match launch.task {
            Some(_) => above.root_id().into(),
            None => above,
        };
        if let Some(parent) = path.parent().map(known)
            && runs.get(&parent).is_none_or(|run| run.stop.is_cancelled())
        {
            return Err(match runs.contains_key(&parent) {
                true => NestedError::ParentDestroying(parent),
                false => NestedError::ParentUnknown(parent),
            });
        }
        let run = Run { user, ..Run::default() };
        let stop = run.stop.clone();
        runs.insert(path.clone(), run);
        Ok(stop)
    }

    async fn run_nested(&self, launch: NestedLaunch) -> Result<(), NestedError> {
        let path = launch.path.clone();
        match self.start_nested(launch).await {
            Ok(()) => {
                let runtime = self.clone();
                tokio::spawn(async move { runtime.end_nested(&path).await });
                Ok(())
            }
            Err(error) => {
                tracing::warn!(container = %path, %error, "cannot start a container");
                self.end_below(&path).await;
                self.publish(&path, Termination::default());
                Err(error)
            }
        }
    }

    async fn start_nested(&self, launch: NestedLaunch) -> Result<(), NestedError> {
        let path = launch.path.clone();
        let above = self.surroundings(&launch)?;
        let root = path.is_nested().then(|| ContainerPath::from(path.root_id()));
        let root = match &root {
            Some(root) => {
                let status = self.inner.containers.status(root);
                Some(status.ok_or_else(|| NestedError::ParentUnknown(root.clone()))?.sandbox)
            }
            None => None,
        };
        let streams = match (launch.terminal, launch.is_session) {
            (None, false) => Streams::Files,
            (terminal, is_session) => Streams::Attachable { terminal, is_session },
        };
        let limits = launch.limits;
        let preparation = Preparation {
            launch,
            above,
            root,
            paths: self.inner.paths.clone(),
            limited: self.inner.options.limit,
        };
        let (prepared, stop) = self.prepare(&path, move |stop| preparation.run(stop)).await?;
        let Prepared { sandbox, directory, plan, image, surroundings } = prepared;
        self.open_sandbox(&path, &sandbox)?;
        let launch = Launch {
            path,
            sandbox,
            plan,
            directory,
            limits,
            keeps_children: false,
            streams,
            is_supervised: true,
            surroundings,
            image,
            stop,
        };
        Ok(self.inner.containers.launch(launch).await?)
    }

    /// Waits for the end of a container that is none of an executor's, and tells those who wait.
    pub(super) async fn end_nested(&self, path: &ContainerPath) {
        let termination = self.inner.containers.wait(path).await.unwrap_or_default();
        self.end_below(path).await;
        if !path.is_nested() {
            self.inner.containers.remove(path).await;
        }
        self.publish(path, termination);
    }

    /// Ends what is below a container that has ended, which may just be starting. Nothing is started below it any more.
    pub(super) async fn end_below(&self, path: &ContainerPath) {
        let mut below = Vec::new();
        for (other, run) in self.runs().iter().filter(|(other, _)| other.is_within(path)) {
            run.stop.cancel();
            if other != path {
                below.push((other.clone(), run.ended.subscribe()));
            }
        }
        for (other, _) in below.iter().rev() {
            self.inner.containers.destroy(other);
        }
        for (_, mut ended) in below {
            // Without a sender it has ended.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    /// Tells those who wait for a container how it ended.
    pub(super) fn publish(&self, path: &ContainerPath, termination: Termination) {
        if let Some(run) = self.runs().remove(path) {
            run.stop.cancel();
            run.ended.send_replace(Some(termination));
        }
    }

    /// How a container ends, or a container below another has ended; `None` if there is no such container.
    pub(crate) async fn wait(&self, path: &ContainerPath) -> Option<Termination> {
        let ended = self.runs().get(path).map(|run| run.ended.subscribe());
        let Some(mut ended) = ended else {
            return if path.is_nested() { self.inner.containers.wait(path).await } else { None };
        };
        ended.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Sends a signal to the first process of a container; ends one that is being started. False if there is no such container.
    pub(crate) fn kill(&self, path: &ContainerPath, signal: Signal) -> io::Result<bool> {
        if self.inner.containers.kill(path, signal)? {
            return Ok(true);
        }
        let exists = self.runs().contains_key(path);
        if exists {
            self.destroy_all(path);
        }
        Ok(exists)
    }

    /// Kills all processes of one run of a container and of those below it, unless it has ended: the path may be another's now.
    pub(crate) fn end_run(&self, path: &ContainerPath, run: &CancellationToken) {
        if !run.is_cancelled() {
            self.destroy_all(path);
        }
    }

    /// Connects to the input and output of a container.
    pub(crate) async fn attach(&self, path: &ContainerPath) -> Result<UnixStream, AttachError> {
        self.inner.containers.attach(path).await
    }

    /// Removes what is left of a container that has ended, and its sandbox.
    pub(crate) async fn remove_nested(&self, path: &ContainerPath) -> Result<(), RemoveError> {
        if self.runs().keys().any(|run| run.is_within(path)) {
            return Err(RemoveError::Running);
        }
        let root = ContainerPath::from(path.root_id());
        let within = match path.is_nested() {
            true => self.inner.containers.status(&root).ok_or(RemoveError::RootUnknown)?.sandbox,
            false => self.inner.paths.standalone(),
        };
        self.inner.containers.remove(path).await;
        let relative = match path.is_nested() {
            true => below_root(path),
            false => PathBuf::from(path.root_id().as_str()),
        };
        let remove = move || remove_below(&within, &relative);
        let removed =
            tokio::task::spawn_blocking(remove).await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        removed.map_err(RemoveError::Sandbox)
    }

    /// The containers that are none of executors, ordered by path.
    pub(crate) fn nested_containers(&self) -> Vec<ContainerPath> {
        let status = |path: &ContainerPath| self.inner.containers.status(path);
        let all = self.inner.containers.containers().into_iter();
        all.filter(|path| status(path).is_some_and(|status| status.is_supervised)).collect()
    }

    /// Ends the containers that are on their own, because the machine stops.
    pub(crate) async fn stop_standalone(&self) {
        let running = self.nested_containers();
        let starting: Vec<ContainerPath> =
            self.runs().iter().filter(|(_, run)| run.user.is_some()).map(|(path, _)| path.clone()).collect();
        for path in running.into_iter().chain(starting).filter(|path| !path.is_nested()) {
            self.destroy_all(&path);
            self.wait(&path).await;
        }
    }
}

/// The sandbox of a container below the outermost one, relative to that one's, as in Mesos.
fn below_root(path: &ContainerPath) -> PathBuf {
    path.parts().skip(1).flat_map(|part| ["containers", part.as_str()]).collect()
}

/// Removes a directory without following links on the way to it. Succeeds if there is none.
fn remove_below(within: &Path, relative: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else { return Ok(()) };
    let parent = match Sandbox::open(within).and_then(|sandbox| sandbox.open_directory(parent)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    match std::fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
