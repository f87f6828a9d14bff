//! Containers as processes of the machine: each has a sandbox, a session and, if the machine supports it, a cgroup. They survive
//! the agent: they are recorded, and recognised at the next start.
//!
//! The first process of an outermost container is a child of the agent, which does not know its exit status after a restart. One
//! of a container below another has a supervisor ([`below`]).

mod below;

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use kernel_core::agent::Limits;
use kernel_model::{container_path::ContainerPath, container_usage::ContainerUsage, ids::ContainerId};
use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{
    cgroups::{Cgroups, MemoryExceeded},
    container::{self, Container},
    containerizer::{AttachError, Containerizer, Launch, Recovered, Status, Termination},
    launch::{self, LaunchError},
    process::{self, Process},
    sandbox::Paths,
};

/// How long processes may take to terminate after SIGKILL before the container is reported as terminated anyway.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// The pause before it is looked again whether processes have terminated.
const DEATH_POLL: Duration = Duration::from_millis(5);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Processes {
    inner: Arc<Inner>,
}

struct Inner {
    paths: Paths,
    /// This program, which supervises containers below others.
    binary: PathBuf,
    cgroups: Option<Cgroups>,
    containers: Mutex<BTreeMap<ContainerPath, Container>>,
    after_end: Option<Arc<dyn AfterEnd>>,
    /// Cancelled once the agent has gone.
    abandoned: CancellationToken,
}

/// What else ends with the processes of a container that has a supervisor.
#[async_trait]
pub(super) trait AfterEnd: Send + Sync {
    /// Is called when no process is left, before the end is recorded; returns how the container has ended.
    async fn ended(&self, path: &ContainerPath, termination: Termination) -> Termination;
}

impl Processes {
    /// Those of an agent with these paths, in cgroups if they are limited.
    pub(crate) fn new(paths: Paths, binary: PathBuf, limited: bool) -> Self {
        Self::with(paths, binary, limited, None)
    }

    /// The same, with what else ends with them.
    pub(super) fn with(
        paths: Paths,
        binary: PathBuf,
        limited: bool,
        after_end: Option<Arc<dyn AfterEnd>>,
    ) -> Self {
        let cgroups = if limited { Cgroups::detect() } else { None };
        let (containers, abandoned) = Default::default();
        Self { inner: Arc::new(Inner { paths, binary, cgroups, containers, after_end, abandoned }) }
    }

    /// Kills the containers that a killed agent has left running, except executors that respawn, and returns the number of outermost
    /// ones. Their records stay: the next start of the agent reports the ends of their tasks.
    pub(crate) fn kill_recorded(paths: &Paths) -> usize {
        let recorded = container::recorded(paths);
        let below = below::recorded_below(paths);
        if recorded.is_empty() && below.is_empty() {
            return 0;
        }
        let cgroups = Cgroups::detect();
        let deadline = Instant::now() + DEATH_MAX;
        for found in below {
            found.kill(deadline);
            found.remove_cgroups(deadline);
        }
        let mut killed = 0;
        for (container_id, found) in recorded {
            let Some(container) = found.container.filter(|container| !container.keeps_children) else {
                continue;
            };
            killed += usize::from(container.process.is_alive());
            container.process.kill();
            kill_session_until(container.process, deadline);
            if let Some(cgroups) = &cgroups {
                cgroups.remove(&container_id.into(), deadline);
            }
        }
        if let Some(cgroups) = &cgroups {
            cgroups.close();
        }
        killed
    }

    fn containers(&self) -> MutexGuard<'_, BTreeMap<ContainerPath, Container>> {
        self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an outermost container.
    async fn launch_outermost(&self, launch: Launch) -> Result<(), LaunchError> {
        let Launch { path, sandbox, plan, limits, keeps_children, surroundings, stop, .. } = launch;
        let limited = self.inner.cgroups.as_ref().zip(limits);
        if let Some(why) = limited.and_then(|(_, limits)| Cgroups::refusal(limits)) {
            return Err(LaunchError::Unlimited(why));
        }
        let pending = launch::spawn(&sandbox, plan)?;
        let process = pending.process()?;
        let mut container =
            Container { keeps_children, ..Container::new(process, sandbox.path(), surroundings) };
        container::record(&self.inner.paths, path.root_id(), &container)?;
        if let Some((cgroups, limits)) = limited {
            cgroups.create(path.root_id(), process.pid, limits);
        }
        container.opened = true;
        let noted = match stop.is_cancelled() {
            true => Err(LaunchError::Destroyed),
            false => {
                container::record(&self.inner.paths, path.root_id(), &container).map_err(LaunchError::from)
            }
        };
        self.containers().insert(path.clone(), container);
        // Whoever destroys it later finds it.
        let noted = if stop.is_cancelled() { Err(LaunchError::Destroyed) } else { noted };
        let opened = match noted {
            Ok(()) => pending.open().await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(mut child) => {
                let processes = self.clone();
                tokio::spawn(async move {
                    let status = child.wait().await.map(ExitStatusExt::into_raw);
                    processes.outermost_ended(path, Some(status.unwrap_or(0))).await;
                });
                Ok(())
            }
            Err(error) => {
                self.destroy(&path);
                self.outermost_ended(path.clone(), None).await;
                self.containers().remove(&path);
                Err(error)
            }
        }
    }

    /// Ends what is left of a container whose first process has ended.
    async fn outermost_ended(&self, path: ContainerPath, status: Option<i32>) {
        if self.inner.abandoned.is_cancelled() {
            return;
        }
        let exceeded = Containerizer::memory_exceeded(self, &path);
        self.end_below(&path, exceeded.as_ref()).await;
        let (processes, id) = (self.clone(), path.clone());
        let clean = move || processes.clean(&id);
        if tokio::task::spawn_blocking(clean).await.is_err() {
            tracing::error!(container = %path, "cleaning up after a container failed");
        }
        if let Some(container) = self.containers().get(&path) {
            let termination = Termination { status, exceeded, not_started: None };
            container.ended.send_replace(Some(termination));
        }
    }

    /// Kills what an outermost container left behind, and waits for it. Blocks.
    fn clean(&self, path: &ContainerPath) {
        let process =
            self.containers().get(path).filter(|found| !found.keeps_children).map(|found| found.process);
        let Some(process) = process else { return };
        let deadline = Instant::now() + DEATH_MAX;
        kill_session_until(process, deadline);
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.remove(path, deadline);
        }
    }

    /// Watches an outermost container that runs. Returns false, when it has cleaned up, if it has ended.
    fn recover_outermost(&self, container_id: &ContainerId, container: Container) -> bool {
        let process = container.process;
        let path = ContainerPath::from(container_id);
        self.containers().insert(path.clone(), container);
        if !process.is_alive() {
            self.clean(&path);
            self.containers().remove(&path);
            return false;
        }
        let processes = self.clone();
        tokio::spawn(async move {
            process.wait().await;
            processes.outermost_ended(path, None).await;
        });
        true
    }
}

#[async_trait]
impl Containerizer for Processes {
    async fn launch(&self, launch: Launch) -> Result<(), LaunchError> {
        match launch.path.is_nested() || launch.is_supervised {
            true => self.launch_below(launch).await,
            false => self.launch_outermost(launch).await,
        }
    }

    async fn attach(&self, path: &ContainerPath) -> Result<UnixStream, AttachError> {
        let supervisor = match self.containers().get(path) {
            Some(container) => container.supervisor,
            None => return Err(AttachError::Unknown(path.clone())),
        };
        match supervisor.is_some_and(|supervisor| supervisor.is_attachable) {
            true => Ok(self.connect(path).await?),
            false => Err(AttachError::NotAttachable),
        }
    }

    async fn wait(&self, path: &ContainerPath) -> Option<Termination> {
        let ended = self.containers().get(path).map(|container| container.ended.subscribe());
        let Some(mut ended) = ended else { return self.recorded_end(path) };
        let termination = ended.wait_for(Option::is_some).await.ok()?;
        termination.clone()
    }

    fn kill(&self, path: &ContainerPath, signal: Signal) -> io::Result<bool> {
        let Some(process) = self.containers().get(path).map(|container| container.process) else {
            return Ok(false);
        };
        process.signal(signal)?;
        Ok(true)
    }

    fn destroy(&self, path: &ContainerPath) {
        let containers = self.containers();
        // Innermost first.
        for (below, container) in containers.iter().rev().filter(|(below, _)| below.is_within(path)) {
            container.process.kill();
            // A respawned executor's children are containers that its next run adopts.
            if !container.keeps_children {
                process::kill_session(container.process);
                if let Some(cgroups) = &self.inner.cgroups {
                    cgroups.kill(below);
                }
            }
        }
    }

    fn update(&self, path: &ContainerPath, limits: Limits) {
        let kept = self.containers().get(path).is_some_and(|container| !container.keeps_children);
        if let Some(cgroups) = self.inner.cgroups.as_ref().filter(|_| kept && !path.is_nested()) {
            cgroups.limit(path.root_id(), limits);
        }
    }

    fn status(&self, path: &ContainerPath) -> Option<Status> {
        self.containers().get(path).map(Container::status)
    }

    fn user(&self, path: &ContainerPath) -> Option<String> {
        let running = self.containers().get(path).map(|container| container.surroundings.user.clone());
        running.or_else(|| self.recorded_user(path))
    }

    fn usage(&self, path: &ContainerPath) -> Option<ContainerUsage> {
        self.inner.cgroups.as_ref()?.usage(path)
    }

    fn memory_exceeded(&self, path: &ContainerPath) -> Option<MemoryExceeded> {
        self.inner.cgroups.as_ref()?.memory_exceeded(path)
    }

    fn containers(&self) -> Vec<ContainerPath> {
        Processes::containers(self).keys().cloned().collect()
    }

    fn recover(&self) -> Recovered {
        let mut recovered = Recovered::default();
        for (container_id, found) in container::recorded(&self.inner.paths) {
            let opened = found.opened;
            let runs =
                found.container.is_some_and(|container| self.recover_outermost(&container_id, container));
            match (runs, opened) {
                (true, _) => recovered.live.push(container_id.into()),
                (false, true) => recovered.ended.push(container_id.into()),
                (false, false) => container::forget(&self.inner.paths, &container_id),
            }
        }
        recovered.live.extend(self.recover_below());
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.sweep(SystemTime::now());
        }
        recovered
    }

    async fn remove(&self, path: &ContainerPath) {
        if self.containers().contains_key(path) {
            self.destroy(path);
            self.wait(path).await;
        }
        self.containers().remove(path);
        self.remove_records(path).await;
    }

    fn abandon(&self) {
        self.inner.abandoned.cancel();
    }

    fn close(&self) {
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.close();
        }
    }
}

/// Kills a session until none of its processes is left. Blocks.
fn kill_session_until(leader: Process, deadline: Instant) {
    while process::kill_session(leader) > 0 && Instant::now() < deadline {
        std::thread::sleep(DEATH_POLL);
    }
}
