//! Volumes of PersistentVolumeClaims: a path of this machine, which the PersistentVolume names. The Pod's directory has a
//! symbolic link to it, so that removing the directory leaves the data.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use executor_core::spec;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};

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
        give_to_group(&path, group).map_err(|e| Cause::Io("changing the group of its files", e))?;
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

/// Gives the files of a volume to a group, unless its root has been given already.
fn give_to_group(root: &Path, group: u32) -> std::io::Result<()> {
    const SET_GROUP_ID: u32 = 0o2000;
    let own = root.metadata()?;
    if own.gid() == group && own.mode() & SET_GROUP_ID != 0 {
        return Ok(());
    }
    let mut left = vec![root.to_owned()];
    let mut directories = Vec::new();
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata()?;
        if metadata.is_symlink() {
            continue;
        }
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                left.push(entry?.path());
            }
            directories.push((path, metadata.mode()));
        } else {
            std::os::unix::fs::chown(&path, None, Some(group))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(metadata.mode() | 0o660))?;
        }
    }
    // The root comes last: it says that everything below is done.
    for (path, mode) in directories.into_iter().rev() {
        std::os::unix::fs::chown(&path, None, Some(group))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | 0o770 | SET_GROUP_ID))?;
    }
    Ok(())
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
