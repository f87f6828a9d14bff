//! What the process runtime has of the machine's container runtime: the processes of some containers stand for containers of images.

use std::{collections::BTreeSet, sync::Arc};

use kernel_core::agent::{Limits, Start};
use kernel_model::ids::ContainerId;

use super::{Container, ProcessRuntime, cgroups, image, launch};
use crate::images::{ContainerFailure, ImageRuntime};

impl ProcessRuntime {
    /// Waits for the machine's container runtime.
    pub(super) async fn wait_for_images(&self, start: &Start) -> Result<(), launch::LaunchError> {
        use launch::LaunchError::{ContainerRuntime, Destroyed, NoImages};
        let images = self.inner.options.images.as_ref().ok_or(NoImages)?;
        let stop = self.containers().get(&start.container_id).map(Container::destruction).ok_or(Destroyed)?;
        tokio::select! {
            ready = images.ready() => ready.map_err(ContainerRuntime),
            () = stop.cancelled() => Err(Destroyed),
        }
    }

    /// Brings the container runtime up if containers of images are there, and removes those whose process does not live.
    pub(super) fn recover_images(&self, live: &BTreeSet<ContainerId>) {
        let Some(images) = self.inner.options.images.clone() else { return };
        let recorded = images.recorded();
        if recorded.is_empty() {
            return;
        }
        let gone = recorded.into_iter().filter(|id| !live.contains(id)).collect();
        tokio::spawn(recover(images, gone));
    }

    /// Changes the limits of a container of an image, if this one is.
    pub(super) fn set_limits_in_image(&self, container_id: &ContainerId, limits: Limits) {
        if let Some(images) = self.inner.options.images.as_ref().filter(|_| self.inner.options.limit) {
            let (images, container_id) = (images.clone(), container_id.clone());
            tokio::spawn(async move { images.set_limits(&container_id, image::limits(limits)).await });
        }
    }

    /// The current resource usage of a container, if known.
    pub(crate) fn usage(&self, container_id: &ContainerId) -> Option<cgroups::Usage> {
        let images = self.inner.options.images.as_ref();
        let in_image = images.and_then(|images| images.usage(container_id));
        let own = self.inner.cgroups.as_ref().and_then(|cgroups| cgroups.usage(container_id));
        if own.is_none() && in_image.is_none() {
            return None;
        }
        let (own, in_image) = (own.unwrap_or_default(), in_image.unwrap_or_default());
        Some(cgroups::Usage {
            cpu_seconds: own.cpu_seconds + in_image.cpu_seconds,
            memory_bytes: own.memory_bytes + in_image.memory_bytes,
        })
    }

    pub(super) fn failure_in_image(&self, container_id: &ContainerId) -> Option<ContainerFailure> {
        self.inner.options.images.as_ref()?.failure(container_id)
    }

    pub(super) fn memory_exceeded(&self, container_id: &ContainerId) -> Option<cgroups::MemoryExceeded> {
        if let Some(ContainerFailure::MemoryExceeded(limits)) = self.failure_in_image(container_id) {
            return Some(cgroups::MemoryExceeded::of_limit(limits.memory_bytes));
        }
        self.inner.cgroups.as_ref()?.memory_exceeded(container_id)
    }

    /// Starts no container runtime any more.
    pub(crate) fn close_images(&self) {
        if let Some(images) = &self.inner.options.images {
            images.close();
        }
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
