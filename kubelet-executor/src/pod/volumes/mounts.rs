//! Mounts of a container: its volumes, `/etc/hosts`, the termination message.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use cri::v1;
use executor_core::{env::expand, hostname, payload, spec};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::images::{ImageRoots, MOUNT_FAILED};
use crate::pod::{container_config::termination_path, paths::PodPaths};

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("volume \"{0}\" is not in the pod")]
    NoVolume(String),
    #[error(
        "failed to resolve recursive read-only mode: volume \"{0}\" requested recursive read-only mode, but it is not supported by the runtime"
    )]
    RecursiveReadOnly(String),
    #[error("subPath \"{0}\" leaves its volume")]
    SubPath(String),
    #[error("missing value for {0}")]
    MissingValue(String),
    #[error("{MOUNT_FAILED}: {0}")]
    Image(String),
    #[error("preparing {0}: {1}")]
    Prepare(PathBuf, std::io::Error),
}

/// The inputs of a container's mounts besides its spec.
pub(crate) struct MountInputs<'a> {
    pub env: &'a [(String, String)],
    pub paths: &'a PodPaths,
    /// The image volumes that the container uses.
    pub image_volumes: &'a ImageRoots,
}

/// Builds all mounts of a container.
pub(crate) fn mounts(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    inputs: &MountInputs<'_>,
) -> Result<Vec<v1::Mount>, MountError> {
    let paths = inputs.paths;
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(pod, mount, inputs)?);
    }
    let taken = |path: &str, mounts: &[v1::Mount]| mounts.iter().any(|mount| mount.container_path == path);
    if spec::spec(pod).host_network != Some(true) && !taken("/etc/hosts", &mounts) {
        mounts.push(bind_mount("/etc/hosts", &paths.hosts()));
    }
    let message = termination_path(container);
    if !taken(message, &mounts) {
        let file = paths.termination(&container.name, attempt);
        touch(&file).map_err(|e| MountError::Prepare(file.clone(), e))?;
        mounts.push(bind_mount(message, &file));
    }
    Ok(mounts)
}

fn bind_mount(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..Default::default()
    }
}

/// Creates a file that any user of the container may write to.
fn touch(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create(file)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666))
}

fn volume_mount(pod: &Pod, mount: &VolumeMount, inputs: &MountInputs<'_>) -> Result<v1::Mount, MountError> {
    let MountInputs { env, paths, image_volumes } = inputs;
    let volumes = spec::spec(pod).volumes.as_deref().unwrap_or_default();
    let volume = volumes.iter().find(|volume| volume.name == mount.name);
    let volume = volume.ok_or_else(|| MountError::NoVolume(mount.name.clone()))?;
    if mount.recursive_read_only.as_deref() == Some("Enabled") {
        return Err(MountError::RecursiveReadOnly(mount.name.clone()));
    }
    let has_claim = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
    let image = image_volumes.get(&mount.name);
    let root = match (image, &volume.host_path, has_claim) {
        (Some(root), ..) => root.clone(),
        (None, Some(host), _) => PathBuf::from(&host.path),
        // A symbolic link to the path of the volume.
        (None, None, true) => {
            let link = paths.volume(&mount.name);
            link.canonicalize().map_err(|e| MountError::Prepare(link.clone(), e))?
        }
        (None, None, false) => paths.volume(&mount.name),
    };
    let sub_path = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expression), _) if !expression.is_empty() => Some(expanded(expression, env)?),
        (_, Some(path)) if !path.is_empty() => Some(path.clone()),
        _ => None,
    };
    let host_path = match sub_path {
        Some(sub_path) if image.is_some() => directory_below(&root, &sub_path)?,
        Some(sub_path) => below(&root, &sub_path)?,
        None => root,
    };
    let of_values = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some();
    let claim_is_read_only =
        volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true));
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    Ok(v1::Mount {
        container_path: if mount.mount_path.starts_with('/') {
            mount.mount_path.clone()
        } else {
            format!("/{}", mount.mount_path)
        },
        host_path: host_path.display().to_string(),
        readonly: mount.read_only == Some(true) || of_values || claim_is_read_only || image.is_some(),
        selinux_relabel: false,
        propagation: propagation as i32,
    })
}

/// A `subPathExpr` with the values of its variables. Each must have one: without it the path would be another.
fn expanded(expression: &str, env: &[(String, String)]) -> Result<String, MountError> {
    let missing = RefCell::new(BTreeSet::new());
    let path = expand(expression, |name| {
        let value = env.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        if value.as_deref().is_none_or(str::is_empty) {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing = missing.into_inner();
    match missing.is_empty() {
        true => Ok(path),
        false => Err(MountError::MissingValue(missing.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// Resolves a subPath, including symbolic links, so that a container cannot leave the volume.
fn below(root: &Path, sub_path: &str) -> Result<PathBuf, MountError> {
    let sub_path = sub_path.trim_end_matches('/');
    let refused = || MountError::SubPath(sub_path.to_owned());
    if !payload::is_safe(sub_path) {
        return Err(refused());
    }
    let prepare = |path: &Path, e| MountError::Prepare(path.to_owned(), e);
    let root = root.canonicalize().map_err(|e| prepare(root, e))?;
    // Component by component: an existing component must stay below the root before anything is created beneath it.
    let mut path = root.clone();
    for part in sub_path.split('/') {
        path.push(part);
        if !path.exists() && !path.is_symlink() {
            std::fs::create_dir(&path).map_err(|e| prepare(&path, e))?;
        }
        path = path.canonicalize().map_err(|e| prepare(&path, e))?;
        if !path.starts_with(&root) {
            return Err(refused());
        }
    }
    Ok(path)
}

/// Resolves a subPath of an image, which must be a directory in it: nothing can be created there.
fn directory_below(root: &Path, sub_path: &str) -> Result<PathBuf, MountError> {
    if !payload::is_safe(sub_path.trim_end_matches('/')) {
        return Err(MountError::SubPath(sub_path.to_owned()));
    }
    let failed = |why: &str| MountError::Image(format!("subPath \"{sub_path}\": {why}"));
    let root = root.canonicalize().map_err(|error| failed(&error.to_string()))?;
    let path = root.join(sub_path).canonicalize().map_err(|error| failed(&error.to_string()))?;
    match path.starts_with(&root) {
        false => Err(failed("it leaves the image")),
        true if !path.is_dir() => Err(failed("only directories of an image can be mounted")),
        true => Ok(path),
    }
}

/// Writes the Pod's `/etc/hosts`.
pub(crate) fn write_hosts(pod: &Pod, ips: &[String], paths: &PodPaths) -> std::io::Result<()> {
    let pod_spec = spec::spec(pod);
    let (hostname, domain) = (hostname::hostname(pod), hostname::domain(pod));
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    for ip in ips {
        match &domain {
            Some(domain) => text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    if let Some(aliases) = pod_spec.host_aliases.as_deref().filter(|aliases| !aliases.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            text.push_str(&format!(
                "{}\t{}\n",
                alias.ip,
                alias.hostnames.as_deref().unwrap_or_default().join("\t")
            ));
        }
    }
    std::fs::create_dir_all(&paths.volumes)?;
    std::fs::write(paths.hosts(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_sub_path_have_values() {
        let env = [("A".to_owned(), "a".to_owned()), ("EMPTY".to_owned(), String::new())];
        let table =
            [("x/$(A)", "x/a"), ("$$(B)", "$(B)"), ("$(C)/$(B)/$(EMPTY)", "missing value for B, C, EMPTY")];
        for (expression, expected) in table {
            let found = expanded(expression, &env).unwrap_or_else(|error| error.to_string());
            assert_eq!(found, expected);
        }
    }
}
