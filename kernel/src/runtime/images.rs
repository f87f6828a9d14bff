//! Containers of images, in the machine's container runtime (CRI). A process of the machine stands for each, or starts it: so
//! they are containers of [`Processes`], with what the container runtime adds.

use std::{collections::BTreeSet, io, sync::Arc};

use async_trait::async_trait;
use kernel_core::agent::Limits;
use kernel_model::{container_path::ContainerPath, ids::ContainerId};
use rustix::process::Signal;
use tokio::net::UnixStream;

use super::{
    cgroups::{MemoryExceeded, Usage},
    containerizer::{AttachError, Containerizer, ImageUse, Launch, Recovered, Status, Termination},
    image,
    launch::{CONTAINER_VARIABLE, LaunchError},
    processes::Processes,
};
use crate::images::{ContainerFailure, ImageContainerConfig, ImageRuntime};

/// See the module. Containers without an image are those of [`Processes`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ImageContainers {
    processes: Processes,
    images: Arc<dyn ImageRuntime>,
    /// Whether containers have limits.
    limited: bool,
}

impl ImageContainers {
    pub(crate) fn new(processes: Processes, images: Arc<dyn ImageRuntime>, limited: bool) -> Self {
        Self { processes, images, limited }
    }

    /// Prepares the container of an image for the process that stands for it or starts it.
    async fn prepare(&self, launch: &mut Launch, image: ImageUse) -> Result<(), LaunchError> {
        tokio::select! {
            ready = self.images.ready() => ready.map_err(LaunchError::ContainerRuntime)?,
            () = launch.stop.cancelled() => return Err(LaunchError::Destroyed),
        }
        let prepare = |config: &ImageContainerConfig| self.images.prepare(config);
        match image {
            ImageUse::Inside(config) => {
                let commands = prepare(&config)?;
                launch.plan.environment = commands.environment;
                launch.plan.arguments = commands.run;
                // It uses the runtime's socket.
                launch.plan.user = None;
            }
            ImageUse::Beside(config) => {
                let text = prepare(&config)?.to_text();
                launch.plan.environment.push((CONTAINER_VARIABLE.to_owned(), text));
            }
        }
        Ok(())
    }

    fn failure(&self, path: &ContainerPath) -> Option<ContainerFailure> {
        if path.is_nested() { None } else { self.images.failure(path.root_id()) }
    }
}

#[async_trait]
impl Containerizer for ImageContainers {
    async fn launch(&self, mut launch: Launch) -> Result<(), LaunchError> {
        let path = launch.path.clone();
        let prepared = match launch.image.take() {
            Some(image) => self.prepare(&mut launch, image).await,
            None => Ok(()),
        };
        let launched = match prepared {
            Ok(()) => self.processes.launch(launch).await,
            Err(error) => Err(error),
        };
        if launched.is_err() && !path.is_nested() {
            self.images.remove(path.root_id()).await;
        }
        launched
    }

    async fn attach(&self, path: &ContainerPath) -> Result<UnixStream, AttachError> {
        self.processes.attach(path).await
    }

    async fn wait(&self, path: &ContainerPath) -> Option<Termination> {
        let termination = self.processes.wait(path).await?;
        Some(match self.failure(path) {
            Some(ContainerFailure::NotStarted(why)) => Termination { not_started: Some(why), ..termination },
            Some(ContainerFailure::MemoryExceeded(limits)) => {
                let exceeded = Some(MemoryExceeded::of_limit(limits.memory_bytes));
                Termination { exceeded, ..termination }
            }
            None => termination,
        })
    }

    fn kill(&self, path: &ContainerPath, signal: Signal) -> io::Result<bool> {
        self.processes.kill(path, signal)
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

    fn usage(&self, path: &ContainerPath) -> Option<Usage> {
        let own = self.processes.usage(path);
        let in_image = if path.is_nested() { None } else { self.images.usage(path.root_id()) };
        if own.is_none() && in_image.is_none() {
            return None;
        }
        let (own, in_image) = (own.unwrap_or_default(), in_image.unwrap_or_default());
        Some(Usage {
            cpu_seconds: own.cpu_seconds + in_image.cpu_seconds,
            memory_bytes: own.memory_bytes + in_image.memory_bytes,
        })
    }

    fn memory_exceeded(&self, path: &ContainerPath) -> Option<MemoryExceeded> {
        if let Some(ContainerFailure::MemoryExceeded(limits)) = self.failure(path) {
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
            let live: BTreeSet<&ContainerId> =
                recovered.live.iter().filter(|path| !path.is_nested()).map(ContainerPath::root_id).collect();
            let gone = recorded.into_iter().filter(|id| !live.contains(id)).collect();
            tokio::spawn(recover(self.images.clone(), gone));
        }
        recovered
    }

    async fn remove(&self, path: &ContainerPath) {
        self.processes.remove(path).await;
        if !path.is_nested() {
            self.images.remove(path.root_id()).await;
        }
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
