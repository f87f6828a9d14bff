//! The process runtime: executors as ordinary processes, each with a sandbox, a session and, if the machine supports
//! it, a cgroup. Containers survive the agent: they are recorded, and recognised at the next start.
//!
//! It carries out what the agent's state machine requests, and reports the results.

pub(crate) mod cgroups;
pub(crate) mod container;
pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod fetch;
mod image;
mod images;
pub(crate) mod launch;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod volumes;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel_core::agent::{Limitation, Limits, LinkedVolume, Start};
use kernel_model::{
    ids::{AgentId, ContainerId},
    resources::{Resource, VolumeId},
    task::Reason,
};
use kernel_wire::{
    prost::Message as _,
    resources::{self, Format},
    v1,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    access::executor_tokens::ExecutorTokens,
    images::{ContainerFailure, ImageRuntime},
};
use cgroups::Cgroups;
use container::Container;
use sandbox::{Paths, Sandbox};

/// How long processes may take to terminate after SIGKILL before the container is reported as terminated anyway.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// Launches that are prepared at a time. Most take milliseconds; one that waits for a download holds a thread, whose stack
/// takes some ten KiB.
const PREPARATIONS_MAX: usize = 512;

/// The runtime's options.
#[derive(Clone)]
pub(crate) struct RuntimeOptions {
    /// The directory of sandboxes and container records.
    pub work_dir: PathBuf,
    /// `IP:PORT` of the executor API.
    pub endpoint: String,
    /// The value of `CATAMARAN_BINARY`, which runs command tasks.
    pub binary: PathBuf,
    /// The operator's environment variables for every executor.
    pub environment: Vec<(String, String)>,
    /// The time between SHUTDOWN and a forced kill, unless `ExecutorInfo` sets its own.
    pub shutdown_grace: Duration,
    /// Whether containers run in cgroups, if the machine supports it.
    pub limit: bool,
    /// Issues the tokens of executors.
    pub tokens: ExecutorTokens,
    /// Runs containers of images; `None` without a container runtime.
    pub images: Option<Arc<dyn ImageRuntime>>,
}

/// A change of a container.
#[derive(Debug)]
pub(crate) enum ContainerEvent {
    /// It could not be started; none of its processes are left.
    StartFailed { container_id: ContainerId, message: String },
    /// It terminated; none of its processes are left.
    Exited { container_id: ContainerId, status: i32, limitation: Option<Limitation> },
}

/// Starts and stops containers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ProcessRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    options: RuntimeOptions,
    paths: Paths,
    cgroups: Option<Cgroups>,
    containers: Mutex<BTreeMap<ContainerId, Container>>,
    /// For threads that prepare launches.
    preparations: Arc<Semaphore>,
    fetches: Arc<FetchCounts>,
    events: mpsc::Sender<ContainerEvent>,
}

/// How often the files of launches were fetched.
#[derive(Debug, Default)]
pub(crate) struct FetchCounts {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl FetchCounts {
    pub(crate) fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn count(&self, fetched: bool) {
        let counter = if fetched { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl ProcessRuntime {
    /// A runtime that reports to `events`.
    pub(crate) fn new(options: RuntimeOptions, events: mpsc::Sender<ContainerEvent>) -> Self {
        let cgroups = if options.limit { Cgroups::detect() } else { None };
        let paths = Paths::new(options.work_dir.clone());
        paths.protect();
        let inner = Inner {
            options,
            paths,
            cgroups,
            containers: Mutex::default(),
            preparations: Arc::new(Semaphore::new(PREPARATIONS_MAX)),
            fetches: Arc::default(),
            events,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn fetches(&self) -> &FetchCounts {
        &self.inner.fetches
    }

    /// Finds containers that survived from an earlier run of the agent, and watches them. The second set are containers
    /// that terminated since; their records stay until [`ProcessRuntime::forget`].
    pub(crate) fn recover(&self) -> (BTreeSet<ContainerId>, BTreeSet<ContainerId>) {
        let (mut live, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for (container_id, container) in container::recorded(&self.inner.paths) {
            match container.process().filter(|process| process.is_alive()) {
                Some(process) => {
                    self.containers().insert(container_id.clone(), container);
                    live.insert(container_id.clone());
                    let runtime = self.clone();
                    tokio::spawn(async move {
                        process.wait().await;
                        runtime.ended(container_id, 0).await;
                    });
                }
                // Kill what it left behind.
                None => {
                    self.clean(&container_id, &container);
                    if container.is_opened() {
                        ended.insert(container_id);
                    } else {
                        container::forget(&self.inner.paths, &container_id);
                    }
                }
            }
        }
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.sweep(std::time::SystemTime::now());
        }
        self.recover_images(&live);
        (live, ended)
    }

    /// Kills the containers that a killed agent has left running, except executors that respawn, and returns their number. Their
    /// records stay: the next start of the agent reports the ends of their tasks.
    pub(crate) fn kill_recorded(work_dir: &Path) -> usize {
        let recorded = container::recorded(&Paths::new(work_dir.to_owned()));
        if recorded.is_empty() {
            return 0;
        }
        let cgroups = Cgroups::detect();
        let deadline = std::time::Instant::now() + DEATH_MAX;
        let mut killed = 0;
        for (container_id, container) in recorded {
            let Some(process) = container.process().filter(|_| !container.keeps_children()) else { continue };
            killed += usize::from(process.is_alive());
            process.kill();
            while process::kill_session(process) > 0 && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            if let Some(cgroups) = &cgroups {
                cgroups.remove(&container_id, deadline);
            }
        }
        if let Some(cgroups) = &cgroups {
            cgroups.close();
        }
        killed
    }

    /// Removes the records of containers whose termination the agent has persisted. A container without a record never
    /// ran.
    pub(crate) fn forget(&self, ended: impl IntoIterator<Item = ContainerId>) {
        for container_id in ended {
            container::forget(&self.inner.paths, &container_id);
        }
    }

    /// Starts a container in the background; the result is sent as an event.
    pub(crate) fn start(&self, start: Box<Start>) {
        let container_id = start.container_id.clone();
        let keeps_children = start.executor.respawns();
        self.containers().insert(container_id.clone(), Container::new(keeps_children));
        let runtime = self.clone();
        tokio::spawn(async move {
            match runtime.launch(&start).await {
                Ok(mut child) => {
                    let status = child.wait().await.map(std::os::unix::process::ExitStatusExt::into_raw);
                    runtime.ended(container_id, status.unwrap_or(0)).await;
                }
                Err(error) => {
                    tracing::warn!(container = %container_id, %error, "cannot start executor");
                    runtime.failed(container_id, error.to_string()).await;
                }
            }
        });
    }

    async fn launch(&self, start: &Start) -> Result<tokio::process::Child, launch::LaunchError> {
        let inner = self.inner.clone();
        // A respawned executor has limits of its own for what it runs.
        let limited = inner.cgroups.as_ref().filter(|_| !start.executor.respawns());
        if let Some(why) = limited.and_then(|_| Cgroups::refusal(start.limits)) {
            return Err(launch::LaunchError::Unlimited(why));
        }
        if image::of_launch(start)?.is_some() {
            self.wait_for_images(start).await?;
        }
        let launch::Prepared { sandbox: prepared, plan } = self.prepare(start).await?;
        let pending = launch::spawn(&prepared, plan)?;
        let process = pending.process()?;
        let destroyed = {
            let mut containers = self.containers();
            let container = containers.get_mut(&start.container_id);
            let container = container.ok_or(launch::LaunchError::Destroyed)?;
            container.started(process, prepared.path().to_owned());
            volumes::link(&inner.paths, &prepared, &container.take_volumes())?;
            container::record(&inner.paths, &start.container_id, container)?;
            container.is_destroyed()
        };
        if let Some(cgroups) = limited {
            cgroups.create(&start.container_id, process.pid, start.limits);
        }
        if destroyed {
            return Err(launch::LaunchError::Destroyed);
        }
        if let Some(container) = self.containers().get_mut(&start.container_id) {
            container.open();
            container::record(&inner.paths, &start.container_id, container)?;
        }
        pending.open().await
    }

    /// Prepares a launch in a thread of its own, which nobody waits for once the container is to be destroyed: a download can
    /// take as long as its server likes.
    async fn prepare(&self, start: &Start) -> Result<launch::Prepared, launch::LaunchError> {
        use launch::LaunchError::{Destroyed, Panicked};
        let container = self.containers().get(&start.container_id).map(Container::destruction);
        let stop = container.ok_or(Destroyed)?;
        let permit = self.inner.preparations.clone().acquire_owned();
        let permit = tokio::select! {
            permit = permit => permit.map_err(|_| Panicked)?,
            () = stop.cancelled() => return Err(Destroyed),
        };
        let (answer, prepared) = oneshot::channel();
        let (inner, start, stopped) = (self.inner.clone(), start.clone(), stop.clone());
        let handle = tokio::runtime::Handle::current();
        let body = move || {
            let _runtime = handle.enter();
            let result = launch::prepare(&inner.options, &inner.paths, &inner.fetches, &start, &stopped);
            drop(permit);
            let _ = answer.send(result);
        };
        std::thread::Builder::new().name("launch".to_owned()).spawn(body)?;
        tokio::select! {
            prepared = prepared => prepared.map_err(|_| Panicked)?,
            () = stop.cancelled() => Err(Destroyed),
        }
    }

    /// Changes the limits of a container.
    pub(crate) fn set_limits(&self, container_id: &ContainerId, limits: Limits) {
        let kept = self.containers().get(container_id).is_some_and(|container| !container.keeps_children());
        self.set_limits_in_image(container_id, limits);
        if let Some(cgroups) = self.inner.cgroups.as_ref().filter(|_| kept) {
            cgroups.limit(container_id, limits);
        }
    }

    /// Makes the directories of the agent's persistent volumes, and removes those of its former ones.
    /// Returns the volumes that are not there, each with why.
    pub(crate) fn sync_volumes(
        &self,
        agent_id: &AgentId,
        volumes: &BTreeMap<VolumeId, u64>,
    ) -> BTreeMap<VolumeId, String> {
        let (missing, left) = volumes::sync(&self.inner.paths, agent_id, volumes);
        for error in missing.values().chain(&left) {
            tracing::error!(%error, "persistent volumes are not as they should be; tasks that need them will fail");
        }
        missing.into_iter().map(|(id, error)| (id, error.to_string())).collect()
    }

    /// Links volumes in the sandbox of a container, which is destroyed if that fails: its new task would do without.
    pub(crate) fn link_volumes(&self, container_id: &ContainerId, volumes: Vec<LinkedVolume>) {
        let mut containers = self.containers();
        let Some(container) = containers.get_mut(container_id) else { return };
        let Some(path) = container.sandbox() else { return container.link_later(volumes) };
        let sandbox = Sandbox::open(path).map_err(launch::LaunchError::Sandbox);
        let linked = sandbox.and_then(|sandbox| Ok(volumes::link(&self.inner.paths, &sandbox, &volumes)?));
        if let Err(error) = linked {
            tracing::error!(container = %container_id, %error, "a container is destroyed");
            container.destroy();
            self.kill_all(container_id, container);
        }
    }

    /// Sends SIGTERM to a container's first process.
    pub(crate) fn terminate(&self, container_id: &ContainerId) {
        if let Some(process) = self.containers().get(container_id).and_then(Container::process) {
            process.terminate();
        }
    }

    /// Kills all processes of a container. A container that is being started is killed as soon as possible.
    pub(crate) fn destroy(&self, container_id: &ContainerId) {
        let containers = self.containers();
        let Some(container) = containers.get(container_id) else { return };
        container.destroy();
        self.kill_all(container_id, container);
    }

    /// The first process of a running container.
    pub(crate) fn pid(&self, container_id: &ContainerId) -> Option<u32> {
        let containers = self.containers();
        let process = containers.get(container_id).and_then(Container::process)?;
        u32::try_from(process.pid).ok()
    }

    /// The sandbox paths.
    pub(crate) fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// The CPU time that each container has used, as far as it is known.
    pub(crate) fn cpu_seconds(&self) -> BTreeMap<ContainerId, f64> {
        let ids: Vec<ContainerId> = self.containers().keys().cloned().collect();
        let used = ids.into_iter().filter_map(|id| Some((self.usage(&id)?.cpu_seconds, id)));
        used.map(|(seconds, id)| (id, seconds)).collect()
    }

    /// The limit that a container has exceeded.
    pub(crate) fn limitation(&self, container_id: &ContainerId) -> Option<Limitation> {
        let exceeded = self.memory_exceeded(container_id)?;
        let memory = Resource::scalar("mem", exceeded.memory());
        let status = v1::TaskStatus {
            limitation: Some(v1::TaskResourceLimitation {
                resources: vec![resources::resource_to_wire(&memory, Format::ENDPOINT)],
            }),
            ..Default::default()
        };
        Some(Limitation {
            reason: Reason::ContainerLimitationMemory,
            message: exceeded.message(),
            details: status.encode_to_vec().into(),
        })
    }

    /// Removes the parent cgroups, unless something still runs in them.
    pub(crate) fn close(&self) {
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.close();
        }
    }

    fn containers(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Container>> {
        self.inner.containers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn kill_all(&self, container_id: &ContainerId, container: &Container) {
        let Some(process) = container.process() else { return };
        process.kill();
        // A respawned executor's children are containers that its next run adopts.
        if !container.keeps_children() {
            process::kill_session(process);
            if let Some(cgroups) = &self.inner.cgroups {
                cgroups.kill(container_id);
            }
        }
    }

    /// Kills what a container left behind, and waits for it.
    fn clean(&self, container_id: &ContainerId, container: &Container) {
        let Some(process) = container.process().filter(|_| !container.keeps_children()) else { return };
        let deadline = std::time::Instant::now() + DEATH_MAX;
        while process::kill_session(process) > 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.remove(container_id, deadline);
        }
    }

    async fn ended(&self, container_id: ContainerId, status: i32) {
        let limitation = self.limitation(&container_id);
        let failure = self.failure_in_image(&container_id);
        self.remove(&container_id).await;
        if let Some(ContainerFailure::NotStarted(message)) = failure {
            return self.report(ContainerEvent::StartFailed { container_id, message }).await;
        }
        self.report(ContainerEvent::Exited { container_id, status, limitation }).await;
    }

    async fn failed(&self, container_id: ContainerId, message: String) {
        self.remove(&container_id).await;
        self.report(ContainerEvent::StartFailed { container_id, message }).await;
    }

    async fn remove(&self, container_id: &ContainerId) {
        let container = self.containers().remove(container_id);
        let (runtime, id) = (self.clone(), container_id.clone());
        let clean = move || {
            if let Some(container) = container {
                runtime.clean(&id, &container);
            }
        };
        if tokio::task::spawn_blocking(clean).await.is_err() {
            tracing::error!(container = %container_id, "cleaning up after a container failed");
        }
        if let Some(images) = &self.inner.options.images {
            images.remove(container_id).await;
        }
    }

    async fn report(&self, event: ContainerEvent) {
        // Without a receiver the agent has stopped; the next one recovers the container's state.
        let _ = self.inner.events.send(event).await;
    }
}
