//! Image volumes: the root file system of an image, mounted read-only where the containers of the Pod find it.
//!
//! The CRI of containerd 1.6 has no image mounts, so the executor mounts a view of the image's layers itself. An image is
//! pulled for each start of a container that uses it, as its pull policy says; a directory is named after the layers, so
//! a container that runs keeps what it has when the next one gets a newer image.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cri::v1;
use executor_core::{action::StartFailure, spec};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{
    machine::mounts,
    pod::{
        containers::{Failed, Start},
        context::NodeContext,
        image_pull,
        paths::PodPaths,
    },
};

/// Upstream's error code of a volume that cannot be mounted, which precedes the reason.
pub(crate) const MOUNT_FAILED: &str = "ImageVolumeMountFailed";

/// The directories of image volumes by the volumes' names.
pub(crate) type ImageRoots = BTreeMap<String, PathBuf>;

/// Why an image cannot be mounted.
#[derive(Debug, thiserror::Error)]
enum MountError {
    #[error("{0}")]
    Runtime(#[from] cri::Error),
    #[error("mounting {0}: {1}")]
    Mount(PathBuf, std::io::Error),
}

/// Pulls and mounts the image volumes that a container uses.
pub(crate) async fn ensure(
    start: &Start,
    container: &Container,
    sandbox: &v1::PodSandboxConfig,
) -> Result<ImageRoots, Failed> {
    let mut roots = ImageRoots::new();
    for volume in spec::spec(&start.pod).volumes.iter().flatten() {
        let Some(image) = &volume.image else { continue };
        let used = container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        if !used {
            continue;
        }
        let wanted = image_pull::Wanted {
            image: image.reference.as_deref().unwrap_or_default(),
            policy: image.pull_policy.as_deref(),
            of_volume: true,
        };
        let pulled = image_pull::ensure(start, &wanted, sandbox).await;
        let pulled = pulled.map_err(|failed| Failed::from(failed).of_volume(wanted.image))?;
        let metrics = &start.context.metrics;
        metrics.image_volumes_requested.inc();
        let mounted = mount(&start.context, &start.pod, &pulled.id).await;
        let root = mounted.map_err(|error| {
            metrics.image_volumes_failed.inc();
            Failed::from((StartFailure::CreateContainerError, format!("{MOUNT_FAILED}: {error}")))
        })?;
        metrics.image_volumes_mounted.inc();
        roots.insert(volume.name.clone(), root);
    }
    Ok(roots)
}

/// Mounts an image, unless the Pod has it mounted.
async fn mount(context: &NodeContext, pod: &Pod, image: &str) -> Result<PathBuf, MountError> {
    let layers = context.runtime.image_layers(image).await?;
    let name = layers.rsplit(':').next().filter(|hex| !hex.is_empty()).unwrap_or("empty").to_owned();
    let paths = PodPaths::of(&context.config, pod);
    let root = paths.images().join(&name);
    let failed = |error| MountError::Mount(root.clone(), error);
    // The containers of a Pod start at the same time.
    let _one_at_a_time = context.image_mounts.lock().await;
    // The directory exists before the view, so that whoever removes the Pod knows of both.
    std::fs::create_dir_all(&root).map_err(failed)?;
    if mounts::is_mount_point(&root) {
        return Ok(root);
    }
    let view = context.runtime.view_image(&key(context, &paths, &name), &layers).await?;
    mounts::mount_view(&view, &root).map_err(failed)?;
    Ok(root)
}

/// The key of a view: of this node, of one Pod.
fn key(context: &NodeContext, paths: &PodPaths, name: &str) -> String {
    let uid = paths.volumes.file_name().unwrap_or_default().to_string_lossy();
    format!("catamaran/{}/{uid}/{name}", context.tag)
}

/// Unmounts the images of a Pod and removes their views.
pub(crate) async fn remove(context: &NodeContext, paths: &PodPaths) {
    for entry in std::fs::read_dir(paths.images()).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Err(error) = remove_one(context, paths, &path, &name).await {
            tracing::warn!(path = %path.display(), %error, "cannot remove an image volume");
        }
    }
}

async fn remove_one(
    context: &NodeContext,
    paths: &PodPaths,
    path: &Path,
    name: &str,
) -> Result<(), MountError> {
    let failed = |error| MountError::Mount(path.to_owned(), error);
    mounts::detach_all(path).map_err(failed)?;
    context.runtime.remove_view(&key(context, paths, name)).await?;
    std::fs::remove_dir(path).map_err(failed)
}
