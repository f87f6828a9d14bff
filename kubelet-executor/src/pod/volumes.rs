//! A Pod's volumes: set up before the sandbox, refreshed while the Pod lives, removed afterwards.

pub(crate) mod atomic;
mod claims;
pub(crate) mod images;
pub(crate) mod mounts;
mod payloads;

use std::{os::unix::fs::PermissionsExt, path::Path};

use executor_core::{field, payload::PayloadError, resources, spec};
use k8s_openapi::api::core::v1::{Pod, Volume};
use rustix::mount::MountFlags;

use crate::{
    api::{Api, ApiError},
    machine::mounts as machine_mounts,
    pod::paths::PodPaths,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
    SetUp { volume: String, why: String },
}

/// Why one volume cannot be set up.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0} \"{1}\" not found")]
    Missing(&'static str, String),
    #[error("{0}")]
    Payload(#[from] PayloadError),
    #[error("{0}")]
    Field(#[from] field::FieldError),
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
    #[error("hostPath type check failed: {0} is not {1}")]
    HostPath(String, &'static str),
    #[error("unknown storage medium \"{0}\"")]
    Medium(String),
    #[error(
        "this node has no volumes of its kind (it has emptyDir, configMap, secret, projected, downwardAPI, hostPath, image, persistentVolumeClaim)"
    )]
    Unsupported,
    #[error("PersistentVolumeClaim \"{0}\" is not bound")]
    Unbound(String),
    #[error("this node has no volumes of the kind of PersistentVolume \"{0}\" (it has hostPath and local)")]
    VolumeKind(String),
    #[error("PersistentVolumeClaim \"{0}\": this node does not support volumeMode Block and volumeDevices")]
    Block(String),
}

/// Sets up volumes; has the inputs besides the Pod.
pub(crate) struct VolumeBuilder<'a> {
    pub api: &'a dyn Api,
    pub node: &'a field::Node,
}

impl VolumeBuilder<'_> {
    /// Sets up all volumes of a Pod, or refreshes those with content from the API.
    pub async fn build_all(&self, pod: &Pod, paths: &PodPaths) -> Result<(), VolumeError> {
        for volume in spec::spec(pod).volumes.iter().flatten() {
            let made = self.make(pod, volume, &paths.volume(&volume.name)).await;
            made.map_err(|cause| VolumeError::SetUp { volume: volume.name.clone(), why: cause.to_string() })?;
        }
        Ok(())
    }

    async fn make(&self, pod: &Pod, volume: &Volume, dir: &Path) -> Result<(), Cause> {
        let fs_group = spec::spec(pod).security_context.as_ref().and_then(|context| context.fs_group);
        let group = fs_group.and_then(|group| u32::try_from(group).ok());
        if let Some(empty) = &volume.empty_dir {
            match empty.medium.as_deref().unwrap_or_default() {
                "" => {}
                // A volume that is full is an error of its writer; memory that is full kills the container.
                "Memory" => {
                    let own = empty.size_limit.as_ref().and_then(resources::units).filter(|size| *size > 0);
                    mount_tmpfs(dir, self.memory_max(pod, own))?;
                }
                other => return Err(Cause::Medium(other.to_owned())),
            }
            return make_open_dir(dir, group);
        }
        if let Some(host) = &volume.host_path {
            return check_host_path(&host.path, host.type_.as_deref().unwrap_or_default());
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            return claims::make(self, pod, (volume.name.as_str(), claim.claim_name.as_str()), dir).await;
        }
        if volume.ephemeral.is_some() {
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            let claim = format!("{pod_name}-{}", volume.name);
            return claims::make(self, pod, (volume.name.as_str(), claim.as_str()), dir).await;
        }
        if volume.image.is_some() {
            // Pulled and mounted when a container that uses it starts.
            return Ok(());
        }
        if volume.secret.is_some() || volume.projected.is_some() {
            // Secrets and tokens are kept in memory.
            mount_tmpfs(dir, self.memory_max(pod, None))?;
        }
        let Some(files) = payloads::files(self, pod, volume, (dir, group)).await? else {
            return Err(Cause::Unsupported);
        };
        atomic::write(dir, &files, group).map_err(|e| Cause::Io("writing its files", e))
    }
}

impl VolumeBuilder<'_> {
    /// The size of a volume in memory: the smallest of its own, the Pod's memory limit, and what Pods may use of the node,
    /// as upstream.
    fn memory_max(&self, pod: &Pod, own: Option<i64>) -> i64 {
        let bounds = own.into_iter().chain(resources::memory_limit(pod)).filter(|size| *size > 0);
        bounds.chain([self.node.memory_bytes]).min().unwrap_or(self.node.memory_bytes)
    }
}

/// Whether a Pod has volumes with content from the API.
pub(crate) fn follows_api(pod: &Pod) -> bool {
    spec::spec(pod).volumes.iter().flatten().any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
    })
}

/// Creates a directory that every user of the Pod may write to.
fn make_open_dir(dir: &Path, group: Option<u32>) -> Result<(), Cause> {
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        if let Some(group) = group {
            std::os::unix::fs::chown(dir, None, Some(group))?;
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
    };
    make().map_err(|e| Cause::Io("making its directory", e))
}

fn mount_tmpfs(dir: &Path, size: i64) -> Result<(), Cause> {
    std::fs::create_dir_all(dir).map_err(|e| Cause::Io("making its directory", e))?;
    if machine_mounts::is_mount_point(dir) {
        return Ok(());
    }
    let mut options = "mode=0755".to_owned();
    // Zero would be no limit.
    if size > 0 {
        options.push_str(&format!(",size={size}"));
    }
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", dir, "tmpfs", flags, Some(options.as_c_str()))
        .map_err(|e| Cause::Io("mounting memory", e.into()))
}

fn check_host_path(path: &str, kind: &str) -> Result<(), Cause> {
    use std::os::unix::fs::FileTypeExt;
    let file = Path::new(path);
    let found = file.metadata().ok();
    let is = |test: fn(&std::fs::Metadata) -> bool| found.as_ref().is_some_and(test);
    let refuse = |what| Err(Cause::HostPath(path.to_owned(), what));
    match kind {
        "DirectoryOrCreate" if found.is_none() => {
            std::fs::create_dir_all(file).map_err(|e| Cause::Io("making the host's directory", e))
        }
        "FileOrCreate" if found.is_none() => {
            std::fs::File::create_new(file).map(drop).map_err(|e| Cause::Io("making the host's file", e))
        }
        "Directory" | "DirectoryOrCreate" if !is(|m| m.is_dir()) => refuse("a directory"),
        "File" | "FileOrCreate" if !is(|m| m.is_file()) => refuse("a file"),
        "Socket" if !is(|m| m.file_type().is_socket()) => refuse("a socket"),
        "CharDevice" if !is(|m| m.file_type().is_char_device()) => refuse("a character device"),
        "BlockDevice" if !is(|m| m.file_type().is_block_device()) => refuse("a block device"),
        _ => Ok(()),
    }
}

/// Unmounts and removes everything of a Pod but its logs. Image volumes are removed before: see [`images::remove`].
pub(crate) fn remove(paths: &PodPaths) -> std::io::Result<()> {
    if !paths.volumes.exists() {
        return Ok(());
    }
    unmount(paths)?;
    std::fs::remove_dir_all(&paths.volumes)
}

/// Unmounts the volumes of a Pod that are in memory. The others keep their files.
pub(crate) fn unmount(paths: &PodPaths) -> std::io::Result<()> {
    for directory in [paths.volumes.join("volumes"), paths.images()] {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            machine_mounts::detach_all(&entry.path())?;
        }
    }
    Ok(())
}
