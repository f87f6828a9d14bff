//! Containers of images: what a launch asks the machine's container runtime for.

mod mounts;

use std::path::Path;

use kernel_core::agent::{Limits, Start};
use kernel_model::{
    container::{ContainerKind, ImageContainer},
    executor::{CommandInfo, ExecutorKind},
    ids::ContainerId,
};

use super::{
    RuntimeOptions, cgroups,
    credentials::Credentials,
    environment::{in_image, task_variables},
    launch::LaunchError,
    sandbox::{Paths, Sandbox},
    volumes,
};
use crate::images::{
    ContainerLimits, ContainerMount, ContainerProgram, ImageContainerConfig, WorkingDirectory,
};
pub(super) use mounts::Above;

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
    /// Whether containers have limits.
    pub(super) limited: bool,
    pub(super) paths: &'a Paths,
    pub(super) sandbox: &'a Sandbox,
    /// The user of the sandbox; `None` is root.
    pub(super) owner: Option<&'a Credentials>,
    /// The container that it is below.
    pub(super) above: Option<&'a Above<'a>>,
}

/// How the container of a launch is to be run. The token is for a custom executor.
pub(super) fn of_start(
    start: &Start,
    image: &ImageContainer,
    command: &CommandInfo,
    parts: &Parts<'_>,
    (options, token): (&RuntimeOptions, String),
) -> Result<ImageContainerConfig, LaunchError> {
    let environment = match start.executor.kind {
        ExecutorKind::Custom => in_image(options, start, token),
        // Its executor is outside of the container.
        ExecutorKind::Command | ExecutorKind::Default => task_variables(start),
    };
    let id = start.container_id.clone();
    let mut config = config(id, (image, command), environment, Some(start.limits), parts)?;
    for volume in &start.volumes {
        let host_path = volumes::directory(parts.paths, &volume.id)?;
        let container_path = match Path::new(&volume.container_path) {
            path if path.is_absolute() => path.to_owned(),
            // The sandbox has a link to this path.
            _ => host_path.clone(),
        };
        config.mounts.push(ContainerMount { host_path, container_path, read_only: volume.read_only });
    }
    Ok(config)
}

/// How a container is to be run, with these variables beyond those of its command.
pub(super) fn config(
    container_id: ContainerId,
    (image, command): (&ImageContainer, &CommandInfo),
    mut environment: Vec<(String, String)>,
    limits_of: Option<Limits>,
    parts: &Parts<'_>,
) -> Result<ImageContainerConfig, LaunchError> {
    let mut mounts = Vec::new();
    for volume in &image.volumes {
        let mounted = mounts::mount(volume, parts);
        mounts
            .push(mounted.map_err(|error| LaunchError::HostVolume(volume.source.path().to_owned(), error))?);
    }
    environment.extend(command.environment.iter().cloned());
    environment.extend(image.parameters.environment.iter().cloned());
    Ok(ImageContainerConfig {
        container_id,
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
        limits: limits_of.filter(|_| parts.limited).map(limits),
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
    fn an_image_makes_nobody_root() {
        let nobody = Credentials::of("nobody").unwrap();
        for kind in [ContainerKind::Docker, ContainerKind::Mesos] {
            assert_eq!(user(&image(kind), Some(&nobody)), Some(nobody.in_container()));
        }
        assert_eq!(user(&image(ContainerKind::Docker), None), None, "the user of the image");
        assert_eq!(user(&image(ContainerKind::Mesos), None).map(|user| user.uid), Some(0));
    }
}
