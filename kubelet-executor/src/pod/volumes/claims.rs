//! Volumes of PersistentVolumeClaims: a path of this machine, which the PersistentVolume names. The Pod's directory has a
//! symbolic link to it, so that removing the directory leaves the data.

use std::{
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
};

use executor_core::spec;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fchown, fstat, open, openat, statat},
    io::Errno,
    process::Gid,
};

use super::{Cause, VolumeBuilder, check_host_path};

/// Sets up the volume of a claim.
pub(super) async fn make(
    builder: &VolumeBuilder<'_>,
    pod: &Pod,
    (volume, claim): (&str, &str),
    dir: &Path,
) -> Result<(), Cause> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let missing = |kind, name: &str| Cause::Missing(kind, name.to_owned());
    let found =
        builder.api.claim(namespace, claim).await?.ok_or_else(|| missing("persistentvolumeclaim", claim))?;
    let name = found.spec.and_then(|spec| spec.volume_name).unwrap_or_default();
    if name.is_empty() {
        return Err(Cause::Unbound(claim.to_owned()));
    }
    let found_volume = builder.api.volume(&name).await?.ok_or_else(|| missing("persistentvolume", &name))?;
    let (path, fs_group) = source(&found_volume)?;
    let in_block_mode = |volume: &PersistentVolume| {
        volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block")
    };
    if in_block_mode(&found_volume) || is_device(pod, volume) {
        return Err(Cause::Block(claim.to_owned()));
    }
    let group = spec::spec(pod).security_context.as_ref().and_then(|context| context.fs_group);
    if let Some(group) = group.filter(|_| fs_group).and_then(|group| u32::try_from(group).ok()) {
        let root = path.clone();
        let given = tokio::task::spawn_blocking(move || give_to_group(&root, group)).await;
        let given = given.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        given.map_err(|e| Cause::Io("changing the group of its files", e))?;
    }
    link(&path, dir).map_err(|e| Cause::Io("linking its directory", e))
}

/// The path of a volume, and whether its files get the Pod's `fsGroup`: those of `hostPath` do not, as upstream.
fn source(volume: &PersistentVolume) -> Result<(PathBuf, bool), Cause> {
    let spec = volume.spec.as_ref();
    if let Some(host) = spec.and_then(|spec| spec.host_path.as_ref()) {
        check_host_path(&host.path, host.type_.as_deref().unwrap_or_default())?;
        return Ok((PathBuf::from(&host.path), false));
    }
    if let Some(local) = spec.and_then(|spec| spec.local.as_ref()) {
        check_host_path(&local.path, "Directory")?;
        return Ok((PathBuf::from(&local.path), true));
    }
    Err(Cause::VolumeKind(volume.metadata.name.clone().unwrap_or_default()))
}

/// Whether a container wants the volume as a device.
fn is_device(pod: &Pod, volume: &str) -> bool {
    let spec = spec::spec(pod);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut devices = containers.flat_map(|container| container.volume_devices.iter().flatten());
    devices.any(|device| device.name == volume)
}

fn link(path: &Path, dir: &Path) -> std::io::Result<()> {
    if std::fs::read_link(dir).is_ok_and(|present| present == path) {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if dir.is_symlink() {
        std::fs::remove_file(dir)?;
    }
    symlink(path, dir)
}

const SET_GROUP_ID: u32 = 0o2000;
/// Directories below a volume's root. Each level takes a file descriptor.
const DEPTH_MAX: usize = 200;

/// Gives the files of a volume to a group, unless its root has been given already. Other Pods may be writing to the volume: nothing
/// is looked up twice by its name, and no link is followed.
fn give_to_group(root: &Path, group: u32) -> std::io::Result<()> {
    let root = open(root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let own = fstat(&root)?;
    if own.st_gid == group && own.st_mode & SET_GROUP_ID != 0 {
        return Ok(());
    }
    give_directory(&root, group, DEPTH_MAX)
}

/// The directory comes last: its mode says that everything below is done.
fn give_directory(directory: &OwnedFd, group: u32, depth: usize) -> std::io::Result<()> {
    if depth == 0 {
        return Err(std::io::Error::other("its directories are nested too deeply"));
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Devices, pipes and sockets are not opened.
        let is_file =
            |mode| matches!(FileType::from_raw_mode(mode), FileType::Directory | FileType::RegularFile);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(seen) if !is_file(seen.st_mode) => continue,
            Ok(_) => openat(directory, name, flags, Mode::empty()),
            Err(error) => Err(error),
        };
        let file = match opened {
            // Removed, or replaced by a link, meanwhile.
            Err(Errno::NOENT | Errno::LOOP) => continue,
            opened => opened?,
        };
        let mode = fstat(&file)?.st_mode;
        match FileType::from_raw_mode(mode) {
            FileType::Directory => give_directory(&file, group, depth - 1)?,
            FileType::RegularFile => give(&file, group, mode | 0o660)?,
            _ => {}
        }
    }
    give(directory, group, fstat(directory)?.st_mode | 0o770 | SET_GROUP_ID)
}

fn give(file: &OwnedFd, group: u32, mode: u32) -> std::io::Result<()> {
    fchown(file, None, Some(Gid::from_raw(group)))?;
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::fake::FakeApi;

    async fn set_up(volume: Value, container: Value, dir: &Path) -> Result<(), String> {
        let api = FakeApi::default();
        let claim: PersistentVolumeClaim =
            serde_json::from_value(json!({"metadata": {}, "spec": {"volumeName": "pv"}})).unwrap();
        api.state().claims.insert(("ns".to_owned(), "data".to_owned()), claim);
        let volume = serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": volume})).unwrap();
        api.state().volumes.insert("pv".to_owned(), volume);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [container]},
        }))
        .unwrap();
        let node = executor_core::field::Node::default();
        let builder = VolumeBuilder { api: &api, node: &node };
        make(&builder, &pod, ("v", "data"), dir).await.map_err(|cause| cause.to_string())
    }

    #[tokio::test]
    async fn the_path_of_the_volume_is_linked_and_outlives_the_pod() {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("file"), "kept").unwrap();
        let dir = temporary.path().join("pod/volumes/v");
        for source in [json!({"hostPath": {"path": data}}), json!({"local": {"path": data}})] {
            set_up(source, json!({"name": "c"}), &dir).await.unwrap();
            assert_eq!(std::fs::read_to_string(dir.join("file")).unwrap(), "kept");
        }
        std::fs::remove_dir_all(temporary.path().join("pod")).unwrap();
        assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "kept");
    }

    #[tokio::test]
    async fn what_this_node_cannot_mount_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("v");
        let nfs = json!({"nfs": {"server": "s", "path": "/"}});
        let refused = set_up(nfs, json!({"name": "c"}), &dir).await.unwrap_err();
        assert!(refused.contains("PersistentVolume \"pv\""), "{refused}");
        let block = json!({"local": {"path": temporary.path()}, "volumeMode": "Block"});
        let refused = set_up(block, json!({"name": "c"}), &dir).await.unwrap_err();
        assert!(refused.contains("volumeMode Block"), "{refused}");
        let device = json!({"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]});
        let local = json!({"local": {"path": temporary.path()}});
        assert!(set_up(local, device, &dir).await.is_err());
        let absent = json!({"local": {"path": temporary.path().join("absent")}});
        let refused = set_up(absent, json!({"name": "c"}), &dir).await.unwrap_err();
        assert!(refused.contains("is not a directory"), "{refused}");
    }
}
