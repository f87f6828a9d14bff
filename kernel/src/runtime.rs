//! The agent's containers: those of executors, which the agent's state machine requests, and those that clients of the agent's
//! operator API start ([`nested`]). It makes sandboxes and fetches files; a [`Containerizer`] runs the containers.

pub(crate) mod cgroups;
pub(crate) mod container;
pub(crate) mod containerizer;
pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod fetch;
mod image;
mod images;
pub(crate) mod launch;
pub(crate) mod nested;
pub(crate) mod process;
mod processes;
pub(crate) mod sandbox;
pub(crate) mod volumes;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel_core::agent::{Limitation, Limits, LinkedVolume, Start};
use kernel_model::{
    container_path::ContainerPath,
    container_usage::ContainerUsage,
    ids::{AgentId, ContainerId},
    resources::{Resource, VolumeId},
    task::Reason,
};
use kernel_wire::{
    prost::Message as _,
    resources::{self, Format},
    v1,
};
use rustix::process::Signal;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{access::executor_tokens::ExecutorTokens, images::ImageRuntime};
use cgroups::MemoryExceeded;
use containerizer::{Containerizer, Launch, Streams, Termination};
use images::ImageContainers;
use launch::LaunchError;
use processes::Processes;
use sandbox::{Paths, Sandbox};

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
pub(crate) struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    options: RuntimeOptions,
    paths: Paths,
    containers: Arc<dyn Containerizer>,
    runs: Mutex<BTreeMap<ContainerPath, Run>>,
    /// For threads that prepare launches.
    preparations: Arc<Semaphore>,
    fetches: Arc<FetchCounts>,
    events: mpsc::Sender<ContainerEvent>,
}

/// A container, from the request for it to its removal.
#[derive(Default)]
struct Run {
    /// Cancelled once it is to be destroyed, which ends its start if that is in progress.
    stop: CancellationToken,
    /// Once it is there.
    sandbox: Option<PathBuf>,
    /// To be linked in its sandbox when that exists.
    volumes: Vec<LinkedVolume>,
    /// Those that came after the request.
    limits: Option<Limits>,
    /// Of one that a client has started.
    user: Option<String>,
    /// Set when it has ended.
    ended: watch::Sender<Option<Termination>>,
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

impl Runtime {
    /// A runtime that reports to `events`.
    pub(crate) fn new(options: RuntimeOptions, events: mpsc::Sender<ContainerEvent>) -> Self {
        let paths = Paths::new(options.work_dir.clone());
        paths.protect();
        let (directories, binary, limit) = (paths.clone(), options.binary.clone(), options.limit);
        let containers: Arc<dyn Containerizer> = match &options.images {
            Some(images) => Arc::new(ImageContainers::new(directories, binary, images.clone(), limit)),
            None => Arc::new(Processes::new(directories, binary, limit)),
        };
        let inner = Inner {
            options,
            paths,
            containers,
            runs: Mutex::default(),
            preparations: Arc::new(Semaphore::new(PREPARATIONS_MAX)),
            fetches: Arc::default(),
            events,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn fetches(&self) -> &FetchCounts {
        &self.inner.fetches
    }

    /// Finds containers that survived from an earlier run of the agent, and watches them. The second set are containers of executors
    /// that terminated since; their records stay until [`Runtime::forget`].
    pub(crate) fn recover(&self) -> (BTreeSet<ContainerId>, BTreeSet<ContainerId>) {
        let recovered = self.inner.containers.recover();
        let mut live = BTreeSet::new();
        for path in recovered.live {
            let Some(status) = self.inner.containers.status(&path) else { continue };
            self.runs().insert(path.clone(), Run { sandbox: Some(status.sandbox), ..Run::default() });
            let runtime = self.clone();
            match path.is_nested() || status.is_supervised {
                true => drop(tokio::spawn(async move { runtime.end_nested(&path).await })),
                false => {
                    live.insert(path.root_id().clone());
                    tokio::spawn(async move { runtime.ended(path).await });
                }
            }
        }
        (live, recovered.ended.into_iter().map(|path| path.root_id().clone()).collect())
    }

    /// Kills the containers that a killed agent has left running, except executors that respawn, and returns their number. Their
    /// records stay: the next start of the agent reports the ends of their tasks.
    pub(crate) fn kill_recorded(work_dir: &Path) -> usize {
        Processes::kill_recorded(&Paths::new(work_dir.to_owned()))
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
        let path = ContainerPath::from(&start.container_id);
        self.runs().insert(path.clone(), Run::default());
        let runtime = self.clone();
        tokio::spawn(async move {
            match runtime.launch(&start).await {
                Ok(()) => runtime.ended(path).await,
                Err(error) => {
                    tracing::warn!(container = %path, %error, "cannot start executor");
                    runtime.remove(&path).await;
                    let container_id = start.container_id.clone();
                    runtime
                        .report(ContainerEvent::StartFailed { container_id, message: error.to_string() })
                        .await;
                }
            }
        });
    }

    async fn launch(&self, start: &Start) -> Result<(), LaunchError> {
        // A respawned executor has limits of its own for what it runs.
        let keeps_children = start.executor.respawns();
        if image::of_launch(start)?.is_some() && self.inner.options.images.is_none() {
            return Err(LaunchError::NoImages);
        }
        let path = ContainerPath::from(&start.container_id);
        let (inner, what) = (self.inner.clone(), start.clone());
        let prepare = move |stop: &CancellationToken| {
            launch::prepare(&inner.options, &inner.paths, &inner.fetches, &what, stop)
        };
        let (prepared, stop) = self.prepare(&path, prepare).await?;
        self.open_sandbox(&path, &prepared.sandbox)?;
        let launch::Prepared { sandbox, plan, image, surroundings } = prepared;
        let changed = || self.runs().get(&path).and_then(|run| run.limits);
        let limits = Some(changed().unwrap_or(start.limits)).filter(|_| !keeps_children);
        let launch = Launch {
            path: path.clone(),
            sandbox,
            plan,
            directory: None,
            limits,
            keeps_children,
            streams: Streams::Files,
            is_supervised: false,
            surroundings,
            image,
            stop,
        };
        self.inner.containers.launch(launch).await?;
        // Those of tasks that came while it was launched.
        if let Some(limits) = changed().filter(|_| !keeps_children) {
            self.inner.containers.update(&path, limits);
        }
        Ok(())
    }

    /// Links the volumes that came while the sandbox was made; later ones are linked at once.
    fn open_sandbox(&self, path: &ContainerPath, sandbox: &Sandbox) -> Result<(), LaunchError> {
        let mut runs = self.runs();
        let run = runs.get_mut(path).ok_or(LaunchError::Destroyed)?;
        volumes::link(&self.inner.paths, sandbox, &std::mem::take(&mut run.volumes))?;
        run.sandbox = Some(sandbox.path().to_owned());
        Ok(())
    }

    /// Prepares a launch in a thread of its own, which nobody waits for once the container is to be destroyed: a download can
    /// take as long as its server likes.
    async fn prepare<T: Send + 'static>(
        &self,
        path: &ContainerPath,
        prepare: impl FnOnce(&CancellationToken) -> Result<T, LaunchError> + Send + 'static,
    ) -> Result<(T, CancellationToken), LaunchError> {
        use LaunchError::{Destroyed, Panicked};
        let stop = self.runs().get(path).map(|run| run.stop.clone()).ok_or(Destroyed)?;
        let permit = self.inner.preparations.clone().acquire_owned();
        let permit = tokio::select! {
            permit = permit => permit.map_err(|_| Panicked)?,
            () = stop.cancelled() => return Err(Destroyed),
        };
        let (answer, prepared) = oneshot::channel();
        let stopped = stop.clone();
        let handle = tokio::runtime::Handle::current();
        let body = move || {
            let _runtime = handle.enter();
            let result = prepare(&stopped);
            drop(permit);
            let _ = answer.send(result);
        };
        std::thread::Builder::new().name("launch".to_owned()).spawn(body)?;
        let prepared = tokio::select! {
            prepared = prepared => prepared.map_err(|_| Panicked)?,
            () = stop.cancelled() => Err(Destroyed),
        };
        Ok((prepared?, stop))
    }

    /// Changes the limits of a container.
    pub(crate) fn set_limits(&self, container_id: &ContainerId, limits: Limits) {
        let path = container_id.into();
        if let Some(run) = self.runs().get_mut(&path) {
            run.limits = Some(limits);
        }
        self.inner.containers.update(&path, limits);
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
        let path = ContainerPath::from(container_id);
        let linked = {
            let mut runs = self.runs();
            let Some(run) = runs.get_mut(&path) else { return };
            let Some(sandbox) = &run.sandbox else { return run.volumes = volumes };
            let sandbox = Sandbox::open(sandbox).map_err(LaunchError::Sandbox);
            sandbox.and_then(|sandbox| Ok(volumes::link(&self.inner.paths, &sandbox, &volumes)?))
        };
        if let Err(error) = linked {
            tracing::error!(container = %container_id, %error, "a container is destroyed");
            self.destroy(container_id);
        }
    }

    /// Sends SIGTERM to a container's first process.
    pub(crate) fn terminate(&self, container_id: &ContainerId) {
        if let Err(error) = self.inner.containers.kill(&container_id.into(), Signal::TERM) {
            tracing::warn!(container = %container_id, %error, "cannot terminate a container");
        }
    }

    /// Kills all processes of a container. A container that is being started is killed as soon as possible.
    pub(crate) fn destroy(&self, container_id: &ContainerId) {
        self.destroy_all(&container_id.into());
    }

    /// Kills all processes of a container and of those below it.
    pub(crate) fn destroy_all(&self, path: &ContainerPath) {
        for (_, run) in self.runs().iter().filter(|(below, _)| below.is_within(path)) {
            run.stop.cancel();
        }
        self.inner.containers.destroy(path);
    }

    /// The first process of a running container.
    pub(crate) fn pid(&self, container: impl Into<ContainerPath>) -> Option<u32> {
        let status = self.inner.containers.status(&container.into())?;
        u32::try_from(status.process.pid).ok()
    }

    /// The current resource usage of a container, if known.
    pub(crate) fn usage(&self, container_id: &ContainerId) -> Option<ContainerUsage> {
        self.inner.containers.usage(&container_id.into())
    }

    /// The sandbox paths.
    pub(crate) fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// The CPU time that each container of an executor has used, as far as it is known.
    pub(crate) fn cpu_seconds(&self) -> BTreeMap<ContainerId, f64> {
        let paths: Vec<ContainerPath> =
            self.runs().keys().filter(|path| !path.is_nested()).cloned().collect();
        let used = paths.iter().filter_map(|path| Some((path.root_id(), self.inner.containers.usage(path)?)));
        used.map(|(id, usage)| (id.clone(), usage.cpu_seconds)).collect()
    }

    /// The CPU seconds of all Pods whose CPUs are revocable.
    pub(crate) fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        self.inner.containers.revocable_pods_cpu_seconds()
    }

    /// The limit that a container has exceeded.
    pub(crate) fn limitation(&self, container_id: &ContainerId) -> Option<Limitation> {
        self.inner.containers.memory_exceeded(&container_id.into()).map(|exceeded| limitation(&exceeded))
    }

    /// Removes the parent cgroups, unless something still runs in them.
    pub(crate) fn close(&self) {
        self.inner.containers.close();
    }

    /// Watches no container any more: those that run are the next agent's.
    pub(crate) fn abandon(&self) {
        self.inner.containers.abandon();
    }

    /// Starts no container runtime any more.
    pub(crate) fn close_images(&self) {
        if let Some(images) = &self.inner.options.images {
            images.close();
        }
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<ContainerPath, Run>> {
        self.inner.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of an executor's container, removes it and reports.
    async fn ended(&self, path: ContainerPath) {
        let termination = self.inner.containers.wait(&path).await.unwrap_or_default();
        self.publish(&path, termination.clone());
        self.remove(&path).await;
        let container_id = path.root_id().clone();
        let limitation = termination.exceeded.as_ref().map(limitation);
        self.report(match termination.not_started {
            Some(message) => ContainerEvent::StartFailed { container_id, message },
            None => {
                ContainerEvent::Exited { container_id, status: termination.status.unwrap_or(0), limitation }
            }
        })
        .await;
    }

    async fn remove(&self, path: &ContainerPath) {
        // Nothing is started below it from here on.
        self.runs().remove(path);
        self.destroy_all(path);
        self.end_below(path).await;
        self.inner.containers.remove(path).await;
    }

    async fn report(&self, event: ContainerEvent) {
        // Without a receiver the agent has stopped; the next one recovers the container's state.
        let _ = self.inner.events.send(event).await;
    }
}

/// The part of a status that says which limit was exceeded.
fn limitation(exceeded: &MemoryExceeded) -> Limitation {
    let status = v1::TaskStatus { limitation: Some(resource_limitation(exceeded)), ..Default::default() };
    Limitation {
        reason: Reason::ContainerLimitationMemory,
        message: exceeded.message(),
        details: status.encode_to_vec().into(),
    }
}

/// The memory that was exceeded, as Mesos shows it.
pub(crate) fn resource_limitation(exceeded: &MemoryExceeded) -> v1::TaskResourceLimitation {
    let memory = Resource::scalar("mem", exceeded.memory());
    v1::TaskResourceLimitation { resources: vec![resources::resource_to_wire(&memory, Format::ENDPOINT)] }
}
