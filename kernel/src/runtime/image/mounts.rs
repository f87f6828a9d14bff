//! The volumes of a container of an image, as mounts.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use kernel_core::agent::LinkedVolume;
use kernel_model::container::{ContainerVolume, VolumeSource};
use rustix::fs::{Mode, OFlags};

use super::Parts;
use crate::{
    images::{ContainerMount, SANDBOX_DIRECTORY},
    runtime::{
        credentials::Credentials,
        sandbox::{Paths, Sandbox},
        volumes,
    },
};

/// The container above, whose sandbox a container can share.
pub(in crate::runtime) struct Above<'a> {
    pub(in crate::runtime) sandbox: &'a Sandbox,
    /// The persistent volumes that its sandbox has links to.
    pub(in crate::runtime) volumes: &'a [LinkedVolume],
}

/// A volume as a mount. The user must be able to reach the path without the container.
pub(super) fn mount(volume: &ContainerVolume, parts: &Parts<'_>) -> io::Result<ContainerMount> {
    let host_path = match &volume.source {
        VolumeSource::Machine(path) => {
            let path = PathBuf::from(path);
            match parts.owner {
                Some(owner) => owner.run(|| reachable(&path))?,
                None => reachable(&path)?,
            }
        }
        VolumeSource::Sandbox(path) => in_sandbox(parts.sandbox, Path::new(path), parts.owner)?,
        VolumeSource::ParentSandbox(path) => {
            let above = parts.above.ok_or(io::ErrorKind::NotFound)?;
            above.directory(parts.paths, Path::new(path), parts.owner)?
        }
    };
    let container_path = Path::new(SANDBOX_DIRECTORY).join(&volume.container_path);
    Ok(ContainerMount { host_path, container_path, read_only: volume.read_only })
}

impl Above<'_> {
    /// A directory of its sandbox, or of one of its persistent volumes.
    fn directory(&self, paths: &Paths, path: &Path, owner: Option<&Credentials>) -> io::Result<PathBuf> {
        let within = self
            .volumes
            .iter()
            .find_map(|volume| Some((volume, path.strip_prefix(&volume.container_path).ok()?)));
        let Some((volume, rest)) = within else { return in_sandbox(self.sandbox, path, owner) };
        let directory = volumes::directory(paths, &volume.id).map_err(io::Error::other)?;
        // Nobody has put a link in its place.
        let opened = Sandbox::open(&directory)?;
        match rest.as_os_str().is_empty() {
            true => Ok(directory),
            false => in_sandbox(&opened, rest, owner),
        }
    }
}

/// A path that exists, without links.
fn reachable(path: &Path) -> io::Result<PathBuf> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    fs::read_link(Path::new("/proc/self/fd").join(OsStr::new(&file.as_fd().as_raw_fd().to_string())))
}

/// A directory of the sandbox, which is created if it does not exist.
fn in_sandbox(sandbox: &Sandbox, relative: &Path, owner: Option<&Credentials>) -> io::Result<PathBuf> {
    let exists = sandbox.open_directory(relative).is_ok();
    let directory = sandbox.create_directory(relative)?;
    if let (false, Some(owner)) = (exists, owner) {
        owner.own(&directory)?;
    }
    Ok(sandbox.path().join(relative))
}

#[cfg(test)]
mod tests {
    use kernel_model::{resources::VolumeId, roles::Role};

    use super::*;

    fn volume(source: VolumeSource, inside: &str) -> ContainerVolume {
        ContainerVolume { source, container_path: inside.into(), read_only: true }
    }

    #[test]
    fn volumes_are_paths_that_exist() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().to_owned());
        let sandbox = Sandbox::create(&directory.path().join("runs"), &"c1".into(), None).unwrap();
        let parts = Parts { limited: false, paths: &paths, sandbox: &sandbox, owner: None, above: None };
        let real = directory.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
        let link = VolumeSource::Machine(directory.path().join("link").display().to_string());
        let mounted = mount(&volume(link, "in"), &parts).unwrap();
        assert_eq!(mounted.host_path, real);
        assert_eq!(mounted.container_path, Path::new("/mnt/mesos/sandbox/in"));
        let own = |path: &str| volume(VolumeSource::Sandbox(path.into()), "/data");
        let mounted = mount(&own("out"), &parts).unwrap();
        assert_eq!(mounted.host_path, sandbox.path().join("out"));
        assert!(mounted.host_path.is_dir() && mounted.container_path == Path::new("/data"));
        assert!(mount(&volume(VolumeSource::Machine("/nowhere/at/all".into()), "/data"), &parts).is_err());
        std::os::unix::fs::symlink("/etc", sandbox.path().join("away")).unwrap();
        assert!(mount(&own("away/x"), &parts).is_err());
        assert!(mount(&volume(VolumeSource::ParentSandbox("x".into()), "/data"), &parts).is_err());
    }

    #[test]
    fn the_sandbox_above_and_its_volumes_are_shared_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().to_owned());
        let outer = Sandbox::create(&directory.path().join("runs"), &"c1".into(), None).unwrap();
        let sandbox = outer.create_below(Path::new("containers/a"), None).unwrap();
        let id = VolumeId { role: Role::parse("eng").unwrap(), id: "v".into() };
        let volumes = [LinkedVolume { id: id.clone(), container_path: "data".into(), read_only: false }];
        assert!(volumes::sync(&paths, &"s".into(), &[(id.clone(), 1)].into()).0.is_empty());
        volumes::link(&paths, &outer, &volumes).unwrap();
        let above = Above { sandbox: &outer, volumes: &volumes };
        let parts =
            Parts { limited: false, paths: &paths, sandbox: &sandbox, owner: None, above: Some(&above) };
        let from = |path: &str| {
            mount(&volume(VolumeSource::ParentSandbox(path.into()), "in"), &parts)
                .map(|mount| mount.host_path)
        };
        assert_eq!(from("shared").unwrap(), outer.path().join("shared"));
        let at = volumes::directory(&paths, &id).unwrap();
        assert!(from("/etc").is_err(), "only a volume is outside of the sandbox");
        assert_eq!((from("data").unwrap(), from("data/deep").unwrap()), (at.clone(), at.join("deep")));
        std::os::unix::fs::symlink("/etc", outer.path().join("away")).unwrap();
        std::os::unix::fs::symlink("/etc", at.join("away")).unwrap();
        assert!(from("away").is_err() && from("data/away").is_err(), "no link is followed");
    }
}
