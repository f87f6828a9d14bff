//! What a task may ask for that this version does not do. The master refuses such a task, instead of ignoring what it asks;
//! the agent does so too, because its master may be of another version.

use std::path::{Component, Path};

use kernel_model::container::{ContainerNetwork, ContainerVolume, ImageContainer, VolumeSource};

use Refused::Unsupported;

use crate::{Invalid, container, v1};

/// Why a task is refused. The text is the message of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It asks for this, in the plural, which this version does not have.
    #[error("{0} are not supported yet")]
    Unsupported(&'static str),
    /// Its container contradicts itself, or lacks something.
    #[error("Invalid ContainerInfo: {0}")]
    InvalidContainer(&'static str),
}

impl From<Refused> for Invalid {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}

/// A directory of the executor's sandbox that a task of a group has in its own (Mesos' volumes of type SANDBOX_PATH).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedVolume {
    /// Relative to the task's sandbox.
    pub container_path: String,
    /// Relative to the executor's sandbox.
    pub path: String,
}

/// Validates a task of a LAUNCH. What a custom executor does with its tasks' containers is its own affair.
pub fn check_task(task: &v1::TaskInfo) -> Result<(), Refused> {
    match &task.executor {
        Some(executor) => {
            check_executor(executor)?;
            check_persistent_volumes(&task.resources, false)?;
            check_no_later_volumes(executor, &task.resources)
        }
        None => {
            check_persistent_volumes(&task.resources, has_image(task.container.as_ref()))?;
            task.command.as_ref().map_or(Ok(()), check_command)?;
            task.container.as_ref().map_or(Ok(()), check_outermost)
        }
    }
}

/// Validates the tasks of a LAUNCH_GROUP.
pub fn check_group(executor: &v1::ExecutorInfo, tasks: &[v1::TaskInfo]) -> Result<(), Refused> {
    check_executor(executor)?;
    tasks.iter().try_for_each(|task| {
        let of_default = executor.r#type() == v1::executor_info::Type::Default;
        check_persistent_volumes(&task.resources, of_default && has_image(task.container.as_ref()))?;
        check_no_later_volumes(executor, &task.resources)
    })?;
    if executor.r#type() != v1::executor_info::Type::Default {
        return Ok(());
    }
    tasks.iter().try_for_each(|task| {
        task.command.as_ref().map_or(Ok(()), check_command)?;
        task.container.as_ref().map_or(Ok(()), |container| check_of_group(container).map(drop))
    })
}

/// Validates the container of a task of a default executor; returns the image that it needs.
pub fn check_of_group(container: &v1::ContainerInfo) -> Result<Option<ImageContainer>, Refused> {
    let image = container::image_from_wire(container)?;
    match &image {
        Some(image) => {
            let is_absolute = |volume: &ContainerVolume| match &volume.source {
                VolumeSource::ParentSandbox(path) => path.starts_with('/'),
                VolumeSource::Machine(_) | VolumeSource::Sandbox(_) => false,
            };
            if image.volumes.iter().any(is_absolute) {
                return Err(Refused::InvalidContainer("the sandbox path of a volume is absolute"));
            }
            check_features(container)?;
        }
        None => drop(shared_volumes(container)?),
    }
    Ok(image)
}

fn check_executor(executor: &v1::ExecutorInfo) -> Result<(), Refused> {
    check_persistent_volumes(&executor.resources, has_image(executor.container.as_ref()))?;
    executor.command.as_ref().map_or(Ok(()), check_command)?;
    let Some(info) = &executor.container else { return Ok(()) };
    check_outermost(info)?;
    match container::image_from_wire(info)?.map(|image| image.network) {
        // It has to reach its agent.
        Some(ContainerNetwork::Bridge(_)) => Err(Unsupported("bridged networks of executors")),
        Some(ContainerNetwork::Host) | None => Ok(()),
    }
}

fn has_image(container: Option<&v1::ContainerInfo>) -> bool {
    container.is_some_and(container::has_image)
}

/// A running container of an image gets no further mounts.
fn check_no_later_volumes(executor: &v1::ExecutorInfo, resources: &[v1::Resource]) -> Result<(), Refused> {
    match has_image(executor.container.as_ref()) && mounts_of(resources).next().is_some() {
        true => Err(Unsupported("persistent volumes of tasks whose executor has an image")),
        false => Ok(()),
    }
}

fn mounts_of(resources: &[v1::Resource]) -> impl Iterator<Item = &v1::Volume> {
    resources.iter().filter_map(|resource| resource.disk.as_ref()?.volume.as_ref())
}

/// Validates the use of persistent volumes. Without an image they are links in the sandbox, which cannot be read-only or anywhere
/// else.
fn check_persistent_volumes(resources: &[v1::Resource], in_image: bool) -> Result<(), Refused> {
    mounts_of(resources).try_for_each(|mount| {
        let path = &mount.container_path;
        let is_absolute = path.starts_with('/');
        let is_below_root = || is_below(path.trim_start_matches('/'));
        match (in_image, mount.mode()) {
            (false, v1::volume::Mode::Ro) => {
                Err(Unsupported("read-only persistent volumes without an image"))
            }
            (true, _) if is_absolute && is_below_root() => Ok(()),
            _ if is_in_sandbox(path) => Ok(()),
            (true, _) => {
                Err(Unsupported("persistent volumes whose path leads up or is the whole container's"))
            }
            (false, _) => Err(Unsupported("persistent volumes outside of the sandbox without an image")),
        }
    })
}

/// Whether a path is below the sandbox and none of its outputs.
fn is_in_sandbox(path: &str) -> bool {
    is_below(path) && !["stdout", "stderr"].contains(&path)
}

/// Validates a command.
pub fn check_command(command: &v1::CommandInfo) -> Result<(), Refused> {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    match variables.into_iter().any(|variable| variable.secret.is_some()) {
        true => Err(Unsupported("secrets in the environment")),
        false => Ok(()),
    }
}

/// Validates what must hold of a command's variables in every version, with Mesos' texts.
pub fn check_variables(command: &v1::CommandInfo) -> Result<(), String> {
    use v1::environment::variable::Type;
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    for variable in variables {
        let of_type = |kind: &str, rule: &str| {
            Err(format!("Environment variable '{}' of type '{kind}' must {rule}", variable.name))
        };
        match variable.r#type() {
            Type::Unknown => return Err("Environment variable of type 'UNKNOWN' is not allowed".to_owned()),
            Type::Secret if variable.secret.is_none() => return of_type("SECRET", "have a secret set"),
            Type::Secret if variable.value.is_some() => return of_type("SECRET", "not have a value set"),
            Type::Value if variable.value.is_none() => return of_type("VALUE", "have a value set"),
            Type::Value if variable.secret.is_some() => return of_type("VALUE", "not have a secret set"),
            Type::Secret | Type::Value => {}
        }
    }
    Ok(())
}

/// Validates a container of the agent's API; returns its image. One without an image is a process, which may have a terminal.
pub fn check_nested(container: &v1::ContainerInfo) -> Result<Option<ImageContainer>, Refused> {
    let image = container::image_from_wire(container)?;
    match image {
        Some(_) => check_features(container)?,
        None => check_volumes(&v1::ContainerInfo { tty_info: None, ..container.clone() }, 0)?,
    }
    Ok(image)
}

/// Validates a container. One without an image is a process on the host network; features that this already satisfies are
/// accepted.
pub fn check_container(container: &v1::ContainerInfo) -> Result<(), Refused> {
    match container::image_from_wire(container)? {
        Some(_) => check_features(container),
        None => check_volumes(container, 0),
    }
}

/// Validates a container that is below no other.
pub fn check_outermost(container: &v1::ContainerInfo) -> Result<(), Refused> {
    let of_parent = |volume: &ContainerVolume| matches!(volume.source, VolumeSource::ParentSandbox(_));
    match container::image_from_wire(container)?.is_some_and(|image| image.volumes.iter().any(of_parent)) {
        true => Err(Unsupported("volumes of the sandbox above in a container that is below no other")),
        false => check_container(container),
    }
}

/// Validates the container of a task of a default executor, which has no image; returns its volumes in the executor's sandbox.
pub fn shared_volumes(container: &v1::ContainerInfo) -> Result<Vec<SharedVolume>, Refused> {
    let shared: Vec<SharedVolume> = container.volumes.iter().filter_map(shared_volume).collect();
    check_volumes(container, shared.len())?;
    Ok(shared)
}

/// The volume, if it is a directory of the executor's sandbox. Without an image, an absolute path would be one of the machine.
fn shared_volume(volume: &v1::Volume) -> Option<SharedVolume> {
    use v1::volume::{Mode, source::sandbox_path};
    let source = volume.source.as_ref()?.sandbox_path.as_ref()?;
    let below = is_in_sandbox(&volume.container_path) && is_below(&source.path);
    let is_shared = below && volume.mode() == Mode::Rw && source.r#type() == sandbox_path::Type::Parent;
    is_shared
        .then(|| SharedVolume { container_path: volume.container_path.clone(), path: source.path.clone() })
}

/// Whether a path leads to something below where it starts.
fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Refuses a container with more than this number of volumes.
fn check_volumes(container: &v1::ContainerInfo, volumes_max: usize) -> Result<(), Refused> {
    if container.volumes.len() > volumes_max {
        return Err(Unsupported("volumes without an image"));
    }
    check_features(container)
}

/// Refuses what neither a process nor a container of an image has.
fn check_features(container: &v1::ContainerInfo) -> Result<(), Refused> {
    use v1::linux_info::IpcMode;
    let linux = container.linux_info.clone().unwrap_or_default();
    let own_network = |network: &v1::NetworkInfo| network.name.is_some() || !network.port_mappings.is_empty();
    let requested = [
        (container.network_infos.iter().any(own_network), "named networks"),
        (container.hostname.is_some(), "host names of containers"),
        (container.rlimit_info.is_some(), "resource limits of processes"),
        (container.tty_info.is_some(), "terminals of tasks"),
        (linux.seccomp.is_some(), "seccomp profiles"),
        (
            linux.effective_capabilities.is_some() || linux.bounding_capabilities.is_some(),
            "Linux capabilities",
        ),
        (linux.ipc_mode() == IpcMode::Private || linux.shm_size.is_some(), "private shared memory segments"),
    ];
    match requested.into_iter().find(|(requested, _)| *requested) {
        Some((_, what)) => Err(Unsupported(what)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::{container_info::Type, volume};

    fn container() -> v1::ContainerInfo {
        v1::ContainerInfo { r#type: Type::Mesos as i32, ..Default::default() }
    }

    fn volume(container_path: &str, mode: volume::Mode) -> v1::Volume {
        use volume::{Source, source};
        let path = source::SandboxPath {
            r#type: Some(source::sandbox_path::Type::Parent as i32),
            path: "of".into(),
        };
        v1::Volume {
            mode: mode as i32,
            container_path: container_path.into(),
            source: Some(Source {
                r#type: Some(source::Type::SandboxPath as i32),
                sandbox_path: Some(path),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn tasks_of_a_default_executor_share_its_sandbox() {
        let with = |volumes| v1::ContainerInfo { volumes, ..container() };
        let shared = with(vec![volume("in", volume::Mode::Rw)]);
        let expected = SharedVolume { container_path: "in".into(), path: "of".into() };
        assert_eq!(shared_volumes(&shared), Ok(vec![expected]));
        assert_eq!(check_container(&shared), Err(Unsupported("volumes without an image")));
        let names = ["/in", "../in", "in/..", "stdout", ""].map(|name| volume(name, volume::Mode::Rw));
        for other in names.into_iter().chain([volume("in", volume::Mode::Ro), Default::default()]) {
            let mixed = with(vec![volume("in", volume::Mode::Rw), other]);
            assert_eq!(shared_volumes(&mixed), Err(Unsupported("volumes without an image")));
        }
    }

    #[test]
    fn containers_of_images_have_volumes_read_only_and_anywhere() {
        use volume::Mode::{Ro, Rw};
        let checked = |in_image, path: &str, mode| {
            let disk = v1::resource::DiskInfo { volume: Some(volume(path, mode)), ..Default::default() };
            let resource = v1::Resource { disk: Some(disk), ..Default::default() };
            check_persistent_volumes(&[resource], in_image)
        };
        for in_image in [false, true] {
            assert_eq!(checked(in_image, "data", Rw), Ok(()));
            for path in ["", "/", "..", "/..", "/a/../..", "a/..", "stdout"] {
                assert!(checked(in_image, path, Rw).is_err(), "{path}");
            }
        }
        for (path, mode) in [("data", Ro), ("/data", Ro), ("/data", Rw)] {
            assert_eq!(checked(true, path, mode), Ok(()));
            assert!(checked(false, path, mode).is_err());
        }
    }

    #[test]
    fn an_executor_interprets_the_containers_of_its_tasks() {
        let docker = v1::container_info::DockerInfo { image: "a".into(), ..Default::default() };
        let image =
            v1::ContainerInfo { r#type: Type::Docker as i32, docker: Some(docker), ..Default::default() };
        let task = |executor| v1::TaskInfo { container: Some(image.clone()), executor, ..Default::default() };
        let executor = |kind: v1::executor_info::Type, container| v1::ExecutorInfo {
            r#type: Some(kind as i32),
            container,
            ..Default::default()
        };
        let (custom, default) = (v1::executor_info::Type::Custom, v1::executor_info::Type::Default);
        assert_eq!(check_task(&task(None)), Ok(()));
        assert_eq!(check_task(&task(Some(executor(custom, None)))), Ok(()));
        assert_eq!(check_task(&task(Some(executor(custom, Some(image.clone()))))), Ok(()));
        let tty = v1::ContainerInfo { tty_info: Some(Default::default()), ..image.clone() };
        let refused = check_task(&task(Some(executor(custom, Some(tty)))));
        assert_eq!(refused, Err(Unsupported("terminals of tasks")));
        assert_eq!(check_group(&executor(custom, None), &[task(None)]), Ok(()));
        assert_eq!(check_group(&executor(default, None), &[task(None)]), Ok(()));
        let of_parent = v1::ContainerInfo { volumes: vec![volume("/in", volume::Mode::Ro)], ..image.clone() };
        let task =
            |executor| v1::TaskInfo { container: Some(of_parent.clone()), executor, ..Default::default() };
        assert_eq!(check_group(&executor(default, None), &[task(None)]), Ok(()));
        let mut absolute = of_parent.clone();
        let source = absolute.volumes[0].source.as_mut().unwrap();
        source.sandbox_path.as_mut().unwrap().path = "/etc".into();
        let refused = Refused::InvalidContainer("the sandbox path of a volume is absolute");
        assert_eq!(check_of_group(&absolute), Err(refused));
        let above = "volumes of the sandbox above in a container that is below no other";
        assert_eq!(check_task(&task(None)), Err(Unsupported(above)));
    }
}
