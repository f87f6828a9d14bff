//! Containers below others, and other containers that one can attach to: each has a supervisor ([`crate::supervisor`]), which
//! outlives the agent, and a directory that says how it ended.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use kernel_model::{container_path::ContainerPath, ids::ContainerId};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    process::{Child, Command},
};

use super::{DEATH_MAX, Processes, kill_session_until};
use crate::{
    runtime::{
        cgroups::{self, MemoryExceeded, kill_below},
        container::{Container, Supervisor},
        containerizer::{Containerizer, Launch, Streams, Termination},
        environment::PATH,
        launch::LaunchError,
        process::{Process, boot_id},
        sandbox::Paths,
    },
    supervisor::{
        config::Config,
        files::{self, CONTAINERS, Files},
    },
};

/// How long a supervisor may take to start the container.
const START_MAX: Duration = Duration::from_secs(60);

/// How long a supervisor may take to end once the container's processes are killed because the one above has ended. It waits for
/// those who read its output.
const SUPERVISOR_DEATH_MAX: Duration = Duration::from_secs(5);

/// Mode of the directories: they have the variables of containers.
const DIRECTORY_MODE: u32 = 0o700;

/// A recorded container below another.
pub(super) struct RecordedBelow {
    path: ContainerPath,
    files: Files,
}

impl Processes {
    fn files(&self, path: &ContainerPath) -> Files {
        files_below(&self.inner.paths, path)
    }

    /// Starts a container with a supervisor.
    pub(super) async fn launch_below(&self, launch: Launch) -> Result<(), LaunchError> {
        let (path, stop) = (launch.path.clone(), launch.stop.clone());
        let files = self.files(&path);
        let cgroups = self.inner.cgroups.as_ref().map(|cgroups| cgroups.create_below(&path, launch.limits));
        let cgroups = cgroups.transpose().map_err(|why| LaunchError::NotStarted(why.to_string()))?;
        let cgroups = cgroups.unwrap_or_default();
        let started = tokio::select! {
            started = tokio::time::timeout(START_MAX, self.start_below(&files, launch, cgroups.clone())) => {
                started.unwrap_or(Err(LaunchError::Spawn(io::ErrorKind::TimedOut.into())))
            }
            () = stop.cancelled() => Err(LaunchError::Destroyed),
        };
        match started {
            // Whoever destroys it later finds it.
            Ok(_) if stop.is_cancelled() => {
                self.not_started(path, files, cgroups, LaunchError::Destroyed).await
            }
            Ok(mut child) => {
                let processes = self.clone();
                tokio::spawn(async move {
                    let _ = child.wait().await;
                    processes.below_ended(path).await;
                });
                Ok(())
            }
            Err(error) => self.not_started(path, files, cgroups, error).await,
        }
    }

    /// Ends what is left of a container that does not start.
    async fn not_started(
        &self,
        path: ContainerPath,
        files: Files,
        cgroups: Vec<PathBuf>,
        error: LaunchError,
    ) -> Result<(), LaunchError> {
        let left = RecordedBelow { path: path.clone(), files };
        let kill = move || {
            let deadline = Instant::now() + DEATH_MAX;
            left.kill(deadline);
            cgroups::remove_all(&cgroups, deadline);
        };
        let _ = tokio::task::spawn_blocking(kill).await;
        self.containers().remove(&path);
        self.remove_records(&path).await;
        Err(error)
    }

    async fn start_below(
        &self,
        files: &Files,
        launch: Launch,
        cgroups: Vec<PathBuf>,
    ) -> Result<Child, LaunchError> {
        let Launch { path, sandbox, plan, surroundings, directory, streams, .. } = launch;
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(files.directory())?;
        // What is left of an earlier container with this path.
        files.clear()?;
        let output = |name| sandbox.create_output(name, plan.owner.as_ref()).map_err(LaunchError::Sandbox);
        let (output, errors) = (output("stdout")?, output("stderr")?);
        let config = Config {
            binary: self.inner.binary.clone(),
            user: plan.user,
            enters: plan.enters,
            cgroups,
            streams,
            sandbox: sandbox.path().to_owned(),
            surroundings: surroundings.clone(),
            arguments: plan.arguments,
            environment: plan.environment,
        };
        config.write(files)?;
        let (own, theirs) = StdUnixStream::pair()?;
        let directory = directory.as_ref().unwrap_or(&sandbox);
        let mut child = Command::new(&self.inner.binary)
            .args(["nested-container", "supervise"])
            .arg(files.directory())
            .env_clear()
            .env("PATH", PATH)
            .current_dir(format!("/proc/self/fd/{}", directory.directory().as_raw_fd()))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(false)
            .spawn()?;
        own.set_nonblocking(true)?;
        let mut own = UnixStream::from_std(own)?;
        let told = own.read(&mut [0]).await?;
        let boot = boot_id();
        let (process, supervisor) =
            (files.process(files::RUNNING, &boot), files.process(files::SUPERVISOR, &boot));
        let (Some(process), Some(supervisor), 1) = (process, supervisor, told) else {
            let why = files.read(files::FAILED).unwrap_or_else(|_| "its supervisor has ended".to_owned());
            child.kill().await?;
            return Err(LaunchError::NotStarted(why));
        };
        self.add_below(&path, &config, process, supervisor);
        // The container is known by now, so it is recovered if the agent ends.
        Ok(child)
    }

    fn add_below(&self, path: &ContainerPath, config: &Config, process: Process, supervisor: Process) {
        let is_attachable = config.streams != Streams::Files;
        let container = Container::new(process, &config.sandbox, config.surroundings.clone());
        let supervisor = Some(Supervisor { process: supervisor, is_attachable });
        self.containers().insert(path.clone(), Container { opened: true, supervisor, ..container });
    }

    /// Ends what is left of a container whose supervisor has ended, and records how it ended.
    async fn below_ended(&self, path: ContainerPath) {
        if self.inner.abandoned.is_cancelled() {
            return;
        }
        let above = self.containers().get(&path).and_then(|container| container.exceeded_above.clone());
        let own = self.memory_exceeded(&path).or(above);
        self.end_below(&path, own.as_ref()).await;
        let (left, cgroups) =
            (RecordedBelow { path: path.clone(), files: self.files(&path) }, self.inner.cgroups.clone());
        let id = path.clone();
        let clean = move || {
            let deadline = Instant::now() + DEATH_MAX;
            left.kill(deadline);
            if let Some(cgroups) = &cgroups {
                cgroups.remove(&id, deadline);
            }
            left.files.read(files::ENDED).ok().and_then(|text| text.trim().parse().ok())
        };
        let status = tokio::task::spawn_blocking(clean).await.ok().flatten();
        let mut termination = Termination { status, exceeded: own, not_started: None };
        if let Some(after_end) = &self.inner.after_end {
            termination = after_end.ended(&path, termination).await;
        }
        let recorded = self.files(&path).write(files::TERMINATION, &termination.to_json().to_string());
        if let Err(error) = recorded {
            tracing::error!(container = %path, %error, "cannot record how a container ended");
        }
        if let Some(container) = self.containers().remove(&path) {
            container.ended.send_replace(Some(termination));
        }
    }

    /// Ends the containers below one that has ended, for the same reason.
    pub(super) async fn end_below(&self, path: &ContainerPath, exceeded: Option<&MemoryExceeded>) {
        let mut below = Vec::new();
        for (id, found) in self.containers().iter_mut().rev() {
            if id != path && id.is_within(path) {
                found.exceeded_above = exceeded.cloned();
                below.push((id.clone(), found.supervisor.map(|supervisor| supervisor.process)));
            }
        }
        for (id, supervisor) in below {
            self.destroy(&id);
            if tokio::time::timeout(SUPERVISOR_DEATH_MAX, self.wait(&id)).await.is_ok() {
                continue;
            }
            if let Some(supervisor) = supervisor {
                supervisor.kill();
            }
            self.wait(&id).await;
        }
    }

    /// The user of a container below another, or of one with a supervisor.
    pub(super) fn recorded_user(&self, path: &ContainerPath) -> Option<String> {
        Some(Config::read(&self.files(path)).ok()?.surroundings.user)
    }

    /// How a container below another ended, if it has.
    pub(super) fn recorded_end(&self, path: &ContainerPath) -> Option<Termination> {
        let text = self.files(path).read(files::TERMINATION).ok()?;
        Termination::of_json(&serde_json::from_str(&text).ok()?)
    }

    /// Connects to the supervisor of a container.
    pub(super) async fn connect(&self, path: &ContainerPath) -> io::Result<UnixStream> {
        let (socket, _directory) = self.files(path).socket()?;
        UnixStream::connect(socket).await
    }

    /// Removes what is recorded of a container and those below it.
    pub(super) async fn remove_records(&self, path: &ContainerPath) {
        let directory = self.files(path).directory().to_owned();
        let remove = move || match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %directory.display(), %error, "cannot remove the files of a container");
            }
            Ok(()) | Err(_) => {}
        };
        // It only fails if it panics.
        let _ = tokio::task::spawn_blocking(remove).await;
    }

    /// Whether a container is there. One that an executor has made itself is there as long as the executor's.
    fn is_above(&self, path: &ContainerPath) -> bool {
        let containers = self.containers();
        containers.contains_key(path)
            || (path.is_nested()
                && self.files(path).read(files::CONFIG).is_err()
                && containers.contains_key(&ContainerPath::from(path.root_id())))
    }

    /// Watches the containers below others that run, unless they are sessions or what they are below has ended; ends the others.
    /// Returns those that are watched. Blocks until those whose outermost one has ended are gone.
    pub(super) fn recover_below(&self) -> Vec<ContainerPath> {
        let boot = boot_id();
        let mut live = Vec::new();
        for found in recorded_below(&self.inner.paths) {
            let RecordedBelow { path, files } = &found;
            if files.read(files::TERMINATION).is_ok() {
                continue;
            }
            let above = path.parent().is_none_or(|parent| self.is_above(&parent));
            let processes = (files.process(files::RUNNING, &boot), files.process(files::SUPERVISOR, &boot));
            let (true, Ok(config), (Some(process), Some(supervisor))) =
                (above, Config::read(files), processes)
            else {
                // It was about to start, which it does not without its directory, or it ends with the one above.
                let deadline = Instant::now() + DEATH_MAX;
                found.kill(deadline);
                found.remove_cgroups(deadline);
                let _ = fs::remove_dir_all(files.directory());
                continue;
            };
            let is_session = matches!(config.streams, Streams::Attachable { is_session: true, .. });
            self.add_below(path, &config, process, supervisor);
            match is_session {
                true => self.destroy(path),
                false => live.push(path.clone()),
            }
            let (processes, path) = (self.clone(), path.clone());
            tokio::spawn(async move {
                supervisor.wait().await;
                processes.below_ended(path).await;
            });
        }
        for (root, directory) in directories(&self.inner.paths.below()) {
            if !self.containers().contains_key(&ContainerPath::root(root)) {
                let _ = fs::remove_dir_all(directory);
            }
        }
        live
    }
}

/// The files of a container below another.
fn files_below(paths: &Paths, path: &ContainerPath) -> Files {
    let mut parts = path.parts().map(ContainerId::as_str);
    let outermost = paths.below().join(parts.next().unwrap_or_default());
    Files::new(parts.fold(outermost, |above, part| above.join(CONTAINERS).join(part)))
}

/// The recorded containers below others, and those that have none above and a supervisor; those above first.
pub(super) fn recorded_below(paths: &Paths) -> Vec<RecordedBelow> {
    let mut all = Vec::new();
    for (name, directory) in directories(&paths.below()) {
        collect(ContainerPath::root(name), directory, &mut all);
    }
    all
}

fn collect(path: ContainerPath, directory: PathBuf, all: &mut Vec<RecordedBelow>) {
    let below = directories(&directory.join(CONTAINERS));
    let files = Files::new(directory);
    // An executor has only those below it there, and so has a container that it has made itself.
    if files.read(files::CONFIG).is_ok() {
        all.push(RecordedBelow { path: path.clone(), files });
    }
    for (name, directory) in below {
        collect(path.child(name), directory, all);
    }
}

fn directories(within: &Path) -> Vec<(ContainerId, PathBuf)> {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().ok().map(ContainerId::from);
    entries.filter_map(|entry| Some((name(&entry)?, entry.path()))).collect()
}

impl RecordedBelow {
    /// Kills its processes and its supervisor, and waits for them. Blocks.
    pub(super) fn kill(&self, deadline: Instant) {
        let boot = boot_id();
        if let Some(supervisor) = self.files.process(files::SUPERVISOR, &boot) {
            supervisor.kill();
        }
        if let Some(process) = self.files.process(files::RUNNING, &boot) {
            process.kill();
            kill_session_until(process, deadline);
        }
        let Ok(config) = Config::read(&self.files) else { return };
        while config.cgroups.iter().map(|cgroup| kill_below(cgroup)).sum::<usize>() > 0
            && Instant::now() < deadline
        {
            std::thread::sleep(super::DEATH_POLL);
        }
    }

    /// Removes its cgroups, and those below. Blocks.
    pub(super) fn remove_cgroups(&self, deadline: Instant) {
        if let Ok(config) = Config::read(&self.files) {
            cgroups::remove_all(&config.cgroups, deadline);
        }
    }
}

impl Termination {
    fn to_json(&self) -> Value {
        json!({
            "status": self.status,
            "exceeded": self.exceeded.as_ref().map(MemoryExceeded::to_json),
            "not_started": self.not_started,
        })
    }

    fn of_json(value: &Value) -> Option<Self> {
        let status = match &value["status"] {
            Value::Null => None,
            status => Some(i32::try_from(status.as_i64()?).ok()?),
        };
        let not_started = value["not_started"].as_str().map(str::to_owned);
        Some(Self { status, exceeded: MemoryExceeded::of_json(&value["exceeded"]), not_started })
    }
}
