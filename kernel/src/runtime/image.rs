//! Containers of images: what a launch asks the machine's container runtime for.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

use kernel_core::agent::{Limits, Start};
use kernel_model::{
    container::{ContainerKind, HostVolume, ImageContainer},
    executor::{CommandInfo, ExecutorKind},
};
use rustix::fs::{Mode, OFlags};

use super::{
    RuntimeOptions, cgroups,
    credentials::Credentials,
    environment::{in_image, task_variables},
    launch::LaunchError,
    sandbox::{Paths, Sandbox},
    volumes,
};
use crate::images::{
    ContainerLimits, ContainerMount, ContainerProgram, ImageContainerConfig, SANDBOX_DIRECTORY,
    WorkingDirectory,
};

/// The container of an image that a launch asks for, and the command in it.
pub(super) fn of_launch(start: &Start) -> Result<Option<(&ImageContainer, &CommandInfo)>, LaunchError> {
    let (image, command) = match (start.executor.kind, &start.task) {
        (ExecutorKind::Command, Some(task)) => (&task.image, &task.command),
        (ExecutorKind::Custom, _) => (&start.executor.image, &start.executor.command),
        (ExecutorKind::Command | ExecutorKind::Default, _) => return Ok(None),
    };
    let Some(image) = image else { return Ok(None) };
    Ok(Some((image, command.as_ref().ok_or(LaunchError::NoCommand)?)))
}

/// What a container is made of, besides the launch.
pub(super) struct Parts<'a> {
    pub(super) options: &'a RuntimeOptions,
    pub(super) paths: &'a Paths,
    pub(super) sandbox: &'a Sandbox,
    /// The user of the sandbox; `None` is root.
    pub(super) owner: Option<&'a Credentials>,
    /// The token of a custom executor.
    pub(super) token: String,
}

/// How the container of a launch is to be run.
pub(super) fn config(
    start: &Start,
    image: &ImageContainer,
    command: &CommandInfo,
    parts: Parts<'_>,
) -> Result<ImageContainerConfig, LaunchError> {
    let mut mounts = Vec::new();
    for volume in &start.volumes {
        // The sandbox has a link to this path.
        let directory = volumes::directory(parts.paths, &volume.id)?;
        mounts.push(ContainerMount {
            host_path: directory.clone(),
            container_path: directory,
            read_only: false,
        });
    }
    for volume in &image.volumes {
        let mounted = mount(volume, parts.sandbox, parts.owner);
        mounts.push(mounted.map_err(|error| LaunchError::HostVolume(volume.host_path.clone(), error))?);
    }
    let mut environment = match start.executor.kind {
        ExecutorKind::Custom => in_image(parts.options, start, parts.token),
        // Its executor is outside of the container.
        ExecutorKind::Command | ExecutorKind::Default => task_variables(start),
    };
    environment.extend(command.environment.iter().cloned());
    environment.extend(image.parameters.environment.iter().cloned());
    Ok(ImageContainerConfig {
        container_id: start.container_id.clone(),
        image: image.image.clone(),
        force_pull: image.force_pull,
        program: program(image, command)?,
        environment,
        directory: directory(image),
        user: user(image, parts.owner),
        sandbox: parts.sandbox.path().to_owned(),
        mounts,
        network: image.network.clone(),
        read_only: image.parameters.read_only,
        limits: parts.options.limit.then(|| limits(start.limits)),
    })
}

pub(super) fn limits(of: Limits) -> ContainerLimits {
    ContainerLimits { cpu_shares: cgroups::cpu_shares(of), memory_bytes: cgroups::memory_bytes(of) }
}

fn directory(image: &ImageContainer) -> WorkingDirectory {
    match (&image.parameters.working_directory, image.kind) {
        (Some(path), _) => WorkingDirectory::Path(path.clone()),
        (None, ContainerKind::Docker) => WorkingDirectory::Image,
        (None, ContainerKind::Mesos) => WorkingDirectory::ImageOrSandbox,
    }
}

/// A task of root runs as the user that docker would choose, and as root in a container of Mesos. A task of another user does not
/// become root by an image.
fn user(image: &ImageContainer, owner: Option<&Credentials>) -> Option<crate::images::ContainerUser> {
    use crate::images::ContainerUser;
    match (owner, image.kind) {
        (Some(owner), _) => Some(owner.in_container()),
        (None, ContainerKind::Docker) => None,
        (None, ContainerKind::Mesos) => Some(ContainerUser { uid: 0, gid: 0, groups: Vec::new() }),
    }
}

/// The program by the rules of the container's type.
fn program(image: &ImageContainer, command: &CommandInfo) -> Result<ContainerProgram, LaunchError> {
    if command.shell {
        let line = command.value.clone().ok_or(LaunchError::NoCommand)?;
        return Ok(ContainerProgram::Own(vec!["/bin/sh".to_owned(), "-c".to_owned(), line]));
    }
    let arguments = command.arguments.iter().cloned();
    Ok(match (image.kind, &command.value) {
        (ContainerKind::Docker, value) => {
            let all = value.iter().cloned().chain(arguments);
            match &image.parameters.entrypoint {
                Some(entrypoint) => {
                    ContainerProgram::Own(std::iter::once(entrypoint.clone()).chain(all).collect())
                }
                None => ContainerProgram::Entrypoint(all.collect()),
            }
        }
        // The first argument is the program's name for itself.
        (ContainerKind::Mesos, Some(value)) => {
            ContainerProgram::Own(std::iter::once(value.clone()).chain(arguments.skip(1)).collect())
        }
        (ContainerKind::Mesos, None) => ContainerProgram::Image(arguments.collect()),
    })
}

/// A volume as a mount. The user must be able to reach the path without the container.
fn mount(volume: &HostVolume, sandbox: &Sandbox, owner: Option<&Credentials>) -> io::Result<ContainerMount> {
    let container_path = Path::new(SANDBOX_DIRECTORY).join(&volume.container_path);
    let host_path = match Path::new(&volume.host_path).is_absolute() {
        true => {
            let path = PathBuf::from(&volume.host_path);
            match owner {
                Some(owner) => owner.run(|| reachable(&path))?,
                None => reachable(&path)?,
            }
        }
        false => in_sandbox(sandbox, Path::new(&volume.host_path), owner)?,
    };
    Ok(ContainerMount { host_path, container_path, read_only: volume.read_only })
}

/// A path that exists, without links.
fn reachable(path: &Path) -> io::Result<PathBuf> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    fs::read_link(Path::new("/proc/self/fd").join(OsStr::new(&file.as_fd().as_raw_fd().to_string())))
}

/// A directory of the sandbox, which is created if it does not exist.
fn in_sandbox(sandbox: &Sandbox, relative: &Path, owner: Option<&Credentials>) -> io::Result<PathBuf> {
    let exists = sandbox.path().join(relative).exists();
    let directory = sandbox.create_directory(relative)?;
    if let (false, Some(owner)) = (exists, owner) {
        owner.own(&directory)?;
    }
    Ok(sandbox.path().join(relative))
}

#[cfg(test)]
mod tests {
    use kernel_model::container::{ContainerNetwork, DockerParameters};

    use super::*;

    fn image(kind: ContainerKind) -> ImageContainer {
        ImageContainer {
            kind,
            image: "a:1".into(),
            force_pull: false,
            volumes: Vec::new(),
            network: ContainerNetwork::Host,
            parameters: DockerParameters::default(),
        }
    }

    fn command(shell: bool, value: Option<&str>, arguments: &[&str]) -> CommandInfo {
        CommandInfo {
            shell,
            value: value.map(str::to_owned),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn programs_follow_the_rules_of_docker_and_of_mesos() {
        use ContainerKind::{Docker, Mesos};
        use ContainerProgram::{Entrypoint, Image, Own};
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let shell = command(true, Some("a b"), &["ignored"]);
        let table = [
            (Docker, shell.clone(), Own(words(&["/bin/sh", "-c", "a b"]))),
            (Mesos, shell, Own(words(&["/bin/sh", "-c", "a b"]))),
            (Docker, command(false, None, &[]), Entrypoint(Vec::new())),
            (Docker, command(false, None, &["x", "y"]), Entrypoint(words(&["x", "y"]))),
            (Docker, command(false, Some("p"), &["x"]), Entrypoint(words(&["p", "x"]))),
            (Mesos, command(false, None, &[]), Image(Vec::new())),
            (Mesos, command(false, None, &["x"]), Image(words(&["x"]))),
            (Mesos, command(false, Some("/p"), &["p", "x"]), Own(words(&["/p", "x"]))),
        ];
        for (kind, command, expected) in table {
            assert_eq!(program(&image(kind), &command).unwrap(), expected, "{kind:?} {command:?}");
        }
        let mut other = image(Docker);
        other.parameters.entrypoint = Some("/e".into());
        assert_eq!(program(&other, &command(false, None, &["x"])).unwrap(), Own(words(&["/e", "x"])));
        assert!(program(&image(Docker), &command(true, None, &[])).is_err());
    }

    #[test]
    fn volumes_are_paths_that_exist() {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::create(&directory.path().join("runs"), &"c1".into(), None).unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
        let volume = |host: &str, inside: &str| HostVolume {
            host_path: host.into(),
            container_path: inside.into(),
            read_only: true,
        };
        let link = directory.path().join("link").display().to_string();
        let mounted = mount(&volume(&link, "in"), &sandbox, None).unwrap();
        assert_eq!(mounted.host_path, real);
        assert_eq!(mounted.container_path, Path::new("/mnt/mesos/sandbox/in"));
        let mounted = mount(&volume("out", "/data"), &sandbox, None).unwrap();
        assert_eq!(mounted.host_path, sandbox.path().join("out"));
        assert!(mounted.host_path.is_dir() && mounted.container_path == Path::new("/data"));
        assert!(mount(&volume("/nowhere/at/all", "/data"), &sandbox, None).is_err());
        std::os::unix::fs::symlink("/etc", sandbox.path().join("away")).unwrap();
        assert!(mount(&volume("away/x", "/data"), &sandbox, None).is_err());
    }

    #[test]
    fn an_image_makes_nobody_root() {
        let nobody = Credentials::of("nobody").unwrap();
        for kind in [ContainerKind::Docker, ContainerKind::Mesos] {
            assert_eq!(user(&image(kind), Some(&nobody)), Some(nobody.in_container()));
        }
        assert_eq!(user(&image(ContainerKind::Docker), None), None, "the user of the image");
        assert_eq!(user(&image(ContainerKind::Mesos), None).map(|user| user.uid), Some(0));
    }
}
