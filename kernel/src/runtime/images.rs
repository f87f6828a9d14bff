//! Containers of images, in the machine's container runtime (CRI). A process of the machine stands for each, or starts it: so
//! they are containers of [`Processes`], with what the container runtime adds.

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use kernel_core::agent::Limits;
use kernel_model::{container_path::ContainerPath, container_usage::ContainerUsage, ids::ContainerId};
use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{
    cgroups::MemoryExceeded,
    containerizer::{AttachError, Containerizer, ImageUse, Launch, Recovered, Status, Termination},
    credentials::Credentials,
    image,
    launch::{CONTAINER_VARIABLE, LaunchError},
    process::Process,
    processes::{AfterEnd, Processes},
    sandbox::Paths,
};
use crate::images::{ContainerFailure, ImageRuntime};

/// How often a container that is being started is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// See the module. Containers without an image are those of [`Processes`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ImageContainers {
    processes: Processes,
    images: Arc<dyn ImageRuntime>,
    /// Whether containers have limits.
    limited: bool,
}

/// The name of a container in the machine's container runtime.
pub(super) fn image_id(path: &ContainerPath) -> ContainerId {
    // Parts contain no dots.
    ContainerId::from(path.to_string())
}

/// Removes the container of an image when its process has ended, and adds what the container runtime knows of its end.
struct RemoveImage(Arc<dyn ImageRuntime>);

#[async_trait]
impl AfterEnd for RemoveImage {
    async fn ended(&self, path: &ContainerPath, termination: Termination) -> Termination {
        let id = image_id(path);
        let termination = with_failure(termination, self.0.failure(&id));
        // A runtime that was killed with the agent comes back with the container.
        if self.0.recorded().contains(&id)
            && let Err(why) = self.0.ready().await
        {
            tracing::warn!(container = %path, why, "a container is removed without its runtime");
        }
        self.0.remove(&id).await;
        termination
    }
}

fn with_failure(termination: Termination, failure: Option<ContainerFailure>) -> Termination {
    match failure {
        Some(ContainerFailure::NotStarted(why)) => Termination { not_started: Some(why), ..termination },
        Some(ContainerFailure::MemoryExceeded(limits)) => {
            Termination { exceeded: Some(MemoryExceeded::of_limit(limits.memory_bytes)), ..termination }
        }
        None => termination,
    }
}

impl ImageContainers {
    /// Those of an agent with these paths.
    pub(crate) fn new(paths: Paths, binary: PathBuf, images: Arc<dyn ImageRuntime>, limited: bool) -> Self {
        let after_end = Arc::new(RemoveImage(images.clone()));
        Self { processes: Processes::with(paths, binary, limited, Some(after_end)), images, limited }
    }

    /// Prepares the container of an image for the process that stands for it, starts it or enters it.
    async fn prepare(&self, launch: &mut Launch, image: ImageUse) -> Result<(), LaunchError> {
        if let ImageUse::Within { path, as_its_user } = image {
            return self.enter(launch, &path, as_its_user);
        }
        tokio::select! {
            ready = self.images.ready() => ready.map_err(LaunchError::ContainerRuntime)?,
            () = launch.stop.cancelled() => return Err(LaunchError::Destroyed),
        }
        match image {
            ImageUse::Inside(config) => {
                let commands = self.images.prepare(&config)?;
                launch.plan.environment = commands.environment;
                launch.plan.arguments = commands.run;
                // It uses the runtime's socket.
                launch.plan.user = None;
            }
            ImageUse::Beside(config) => {
                let text = self.images.prepare(&config)?.to_text();
                launch.plan.environment.push((CONTAINER_VARIABLE.to_owned(), text));
            }
            ImageUse::Within { .. } => {}
        }
        Ok(())
    }

    fn enter(&self, launch: &mut Launch, path: &ContainerPath, as_its_user: bool) -> Result<(), LaunchError> {
        let not_there = || LaunchError::NotStarted(format!("the container {path} of an image does not run"));
        let process = self.first_process(path).ok_or_else(not_there)?;
        if as_its_user {
            launch.plan.user = Credentials::of_process(process)?;
        }
        launch.plan.enters = Some(process);
        Ok(())
    }

    /// The first process in the container of an image.
    fn first_process(&self, path: &ContainerPath) -> Option<Process> {
        self.processes.status(path)?;
        Process::find(self.images.running(&image_id(path))?.pid)
    }

    /// Waits until the container of an image runs whose process has been started. Others who start one look themselves.
    async fn until_running(&self, path: &ContainerPath, stop: &CancellationToken) -> Result<(), LaunchError> {
        let id = image_id(path);
        let ended = self.processes.wait(path);
        tokio::pin!(ended);
        while self.images.running(&id).is_none() {
            tokio::select! {
                termination = &mut ended => {
                    return match termination.and_then(|termination| termination.not_started) {
                        Some(why) => Err(LaunchError::NotStarted(why)),
                        // It may have run.
                        None => Ok(()),
                    };
                }
                () = stop.cancelled() => {
                    self.processes.destroy(path);
                    ended.await;
                    return Err(LaunchError::Destroyed);
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Containerizer for ImageContainers {
    async fn launch(&self, mut launch: Launch) -> Result<(), LaunchError> {
        let (path, stop) = (launch.path.clone(), launch.stop.clone());
        let stands_for_image = matches!(launch.image, Some(ImageUse::Inside(_))) && launch.is_supervised;
        let prepared = match launch.image.take() {
            Some(image) => self.prepare(&mut launch, image).await,
            None => Ok(()),
        };
        let mut launched = match prepared {
            Ok(()) => self.processes.launch(launch).await,
            Err(error) => Err(error),
        };
        if launched.is_ok() && stands_for_image {
            launched = self.until_running(&path, &stop).await;
            if launched.is_err() {
                self.processes.remove(&path).await;
            }
        }
        if launched.is_err() {
            self.images.remove(&image_id(&path)).await;
        }
        launched
    }

    async fn attach(&self, path: &ContainerPath) -> Result<UnixStream, AttachError> {
        self.processes.attach(path).await
    }

    async fn wait(&self, path: &ContainerPath) -> Option<Termination> {
        let termination = self.processes.wait(path).await?;
        Some(with_failure(termination, self.images.failure(&image_id(path))))
    }

    /// The first process is that in the container of an image: the one that stands for it ends with it. (Executors in images pass
    /// on what they get, and command executors are beside theirs.)
    fn kill(&self, path: &ContainerPath, signal: Signal) -> io::Result<bool> {
        let is_supervised = self.processes.status(path).is_some_and(|status| status.is_supervised);
        match self.first_process(path).filter(|_| is_supervised) {
            Some(process) => process.signal(signal).map(|()| true),
            None => self.processes.kill(path, signal),
        }
    }

    fn destroy(&self, path: &ContainerPath) {
        self.processes.destroy(path);
    }

    fn update(&self, path: &ContainerPath, limits: Limits) {
        if self.limited && !path.is_nested() {
            let (images, container_id) = (self.images.clone(), path.root_id().clone());
            tokio::spawn(async move { images.set_limits(&container_id, image::limits(limits)).await });
        }
        self.processes.update(path, limits);
    }

    fn status(&self, path: &ContainerPath) -> Option<Status> {
        self.processes.status(path)
    }

    fn user(&self, path: &ContainerPath) -> Option<String> {
        self.processes.user(path)
    }

    fn usage(&self, path: &ContainerPath) -> Option<ContainerUsage> {
        let own = self.processes.usage(path);
        let in_image = self.images.usage(&image_id(path));
        if own.is_none() && in_image.is_none() {
            return None;
        }
        Some(own.unwrap_or_default() + in_image.unwrap_or_default())
    }

    fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        self.images.revocable_pods_cpu_seconds()
    }

    fn memory_exceeded(&self, path: &ContainerPath) -> Option<MemoryExceeded> {
        if let Some(ContainerFailure::MemoryExceeded(limits)) = self.images.failure(&image_id(path)) {
            return Some(MemoryExceeded::of_limit(limits.memory_bytes));
        }
        self.processes.memory_exceeded(path)
    }

    fn containers(&self) -> Vec<ContainerPath> {
        Containerizer::containers(&self.processes)
    }

    /// Brings the container runtime up if containers of images are there, and removes those whose process does not live.
    fn recover(&self) -> Recovered {
        let recovered = self.processes.recover();
        let recorded = self.images.recorded();
        if !recorded.is_empty() {
            let live: BTreeSet<ContainerId> = recovered.live.iter().map(image_id).collect();
            let gone = recorded.into_iter().filter(|id| !live.contains(id)).collect();
            tokio::spawn(recover(self.images.clone(), gone));
        }
        recovered
    }

    async fn remove(&self, path: &ContainerPath) {
        self.processes.remove(path).await;
        self.images.remove(&image_id(path)).await;
    }

    fn abandon(&self) {
        self.processes.abandon();
    }

    fn close(&self) {
        self.processes.close();
    }
}

/// Brings the container runtime up, on which containers that live depend, and removes those that are gone.
async fn recover(images: Arc<dyn ImageRuntime>, gone: Vec<ContainerId>) {
    if let Err(error) = images.ready().await {
        tracing::error!(%error, "containers of tasks run without their runtime");
    }
    for container_id in gone {
        images.remove(&container_id).await;
    }
}
