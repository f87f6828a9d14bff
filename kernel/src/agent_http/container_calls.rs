//! Calls about containers: their validation, with Mesos' texts, and what they ask for.

use std::iter;

use kernel_core::agent::Limits;
use kernel_model::{container::ImageContainer, container_path::ContainerPath};
use kernel_wire::{
    container_path, executor, supported,
    v1::{
        self,
        agent::{Call, call},
    },
};

use crate::runtime::{containerizer::WindowSize, nested::NestedLaunch};

/// The signal of a kill without one.
const SIGKILL: i32 = 9;

/// A call about containers.
#[derive(Debug, Clone)]
pub(super) enum ContainerCall {
    Launch(NestedLaunch),
    Wait {
        path: ContainerPath,
        /// Whether it is answered as WAIT_NESTED_CONTAINER.
        is_deprecated: bool,
    },
    Kill {
        path: ContainerPath,
        signal: i32,
    },
    Remove {
        path: ContainerPath,
    },
    AttachOutput {
        path: ContainerPath,
    },
}

impl ContainerCall {
    /// The container.
    pub(super) fn path(&self) -> &ContainerPath {
        match self {
            Self::Launch(launch) => &launch.path,
            Self::Wait { path, .. }
            | Self::Kill { path, .. }
            | Self::Remove { path }
            | Self::AttachOutput { path } => path,
        }
    }
}

/// A call that is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// It fails to validate.
    Invalid(String),
    /// It asks for something else than this agent has.
    Unsupported(String),
}

type Parsed<T> = Result<T, CallError>;

fn invalid<T>(why: impl Into<String>) -> Parsed<T> {
    Err(CallError::Invalid(why.into()))
}

/// Validates a call whose part for its type is present; `None` for a call that is not about containers.
#[allow(deprecated)] // deprecated calls are still answered
pub(super) fn parse(kind: call::Type, call: &Call) -> Parsed<Option<ContainerCall>> {
    use call::Type;
    Ok(Some(match kind {
        Type::LaunchNestedContainer => {
            let Some(launch) = &call.launch_nested_container else { return Ok(None) };
            let path = nested_path(&launch.container_id, "launch_nested_container")?;
            let (part, command) = ("launch_nested_container", launch.command.as_ref());
            match launch_of(part, path, command, launch.container.as_ref(), false)? {
                // The call has no resources.
                ContainerCall::Launch(launch) if launch.image.is_some() => {
                    return Err(CallError::Unsupported(NO_RESOURCES.to_owned()));
                }
                parsed => parsed,
            }
        }
        Type::LaunchNestedContainerSession => {
            let Some(launch) = &call.launch_nested_container_session else { return Ok(None) };
            let part = "launch_nested_container_session";
            let path = nested_path(&launch.container_id, part)?;
            launch_of(part, path, launch.command.as_ref(), launch.container.as_ref(), true)?
        }
        Type::LaunchContainer => {
            let Some(launch) = &call.launch_container else { return Ok(None) };
            launch_container(launch)?
        }
        Type::WaitNestedContainer => {
            let Some(wait) = &call.wait_nested_container else { return Ok(None) };
            let path = nested_path(&wait.container_id, "wait_nested_container")?;
            ContainerCall::Wait { path, is_deprecated: true }
        }
        Type::WaitContainer => {
            let Some(wait) = &call.wait_container else { return Ok(None) };
            let path = any_path(&wait.container_id, "wait_container.container_id")?;
            ContainerCall::Wait { path, is_deprecated: false }
        }
        Type::KillNestedContainer => {
            let Some(kill) = &call.kill_nested_container else { return Ok(None) };
            let path = nested_path(&kill.container_id, "kill_nested_container")?;
            ContainerCall::Kill { path, signal: kill.signal.unwrap_or(SIGKILL) }
        }
        Type::KillContainer => {
            let Some(kill) = &call.kill_container else { return Ok(None) };
            let path = any_path(&kill.container_id, "kill_container.container_id")?;
            ContainerCall::Kill { path, signal: kill.signal.unwrap_or(SIGKILL) }
        }
        Type::RemoveNestedContainer => {
            let Some(remove) = &call.remove_nested_container else { return Ok(None) };
            ContainerCall::Remove { path: nested_path(&remove.container_id, "remove_nested_container")? }
        }
        Type::RemoveContainer => {
            let Some(remove) = &call.remove_container else { return Ok(None) };
            ContainerCall::Remove { path: any_path(&remove.container_id, "remove_container.container_id")? }
        }
        Type::AttachContainerOutput => {
            let Some(attach) = &call.attach_container_output else { return Ok(None) };
            let path = any_path(&attach.container_id, "attach_container_output.container_id")?;
            ContainerCall::AttachOutput { path }
        }
        _ => return Ok(None),
    }))
}

/// Validates the first call of a stream of input; returns the container.
pub(super) fn parse_input(call: &Call) -> Parsed<ContainerPath> {
    use call::attach_container_input::Type;
    let attach = call.attach_container_input.as_ref();
    let attach = attach
        .ok_or_else(|| CallError::Invalid("Expecting 'attach_container_input' to be present".into()))?;
    let Some(kind) = attach.r#type else {
        return invalid("Expecting 'attach_container_input.type' to be present");
    };
    match Type::try_from(kind).unwrap_or_default() {
        Type::Unknown => invalid("'attach_container_input.type' is unknown"),
        Type::ContainerId => {
            let id = attach.container_id.clone().unwrap_or_default();
            any_path(&id, "attach_container_input.container_id")
        }
        Type::ProcessIo => Err(CallError::Unsupported(
            "Expecting 'attach_container_input.type' to be CONTAINER_ID".to_owned(),
        )),
    }
}

fn any_path(id: &v1::ContainerId, part: &str) -> Parsed<ContainerPath> {
    let path = container_path::from_wire(id);
    match path.check() {
        Ok(()) => Ok(path),
        Err(why) => invalid(format!("'{part}' is invalid: {why}")),
    }
}

fn nested_path(id: &v1::ContainerId, part: &str) -> Parsed<ContainerPath> {
    let path = any_path(id, &format!("{part}.container_id"))?;
    match path.is_nested() {
        true => Ok(path),
        false => invalid(format!("Expecting '{part}.container_id.parent' to be present")),
    }
}

fn launch_container(launch: &call::LaunchContainer) -> Parsed<ContainerCall> {
    let part = "launch_container";
    let path = any_path(&launch.container_id, "launch_container.container_id")?;
    let resources = kernel_wire::resources::from_wire(launch.resources.clone());
    let resources = resources.map_err(|why| CallError::Invalid(format!("Invalid resources: {}", why.0)))?;
    let is_deep = path.parent().is_some_and(|parent| parent.is_nested());
    let shares = launch.container.as_ref().is_none_or(shares_cgroups);
    if is_deep {
        let deep = "'launch_container' is invalid: containers nested at the second level or greater cannot ";
        let asked = [
            (!launch.resources.is_empty(), "specify resources"),
            (!launch.limits.is_empty(), "specify resource limits"),
            (!shares, "set 'share_cgroups' to 'false'"),
        ];
        if let Some((_, what)) = asked.into_iter().find(|(is_asked, _)| *is_asked) {
            return invalid(format!("{deep}{what}"));
        }
    }
    if !path.is_nested() {
        check_standalone(launch, &resources)?;
    }
    if !launch.limits.is_empty() {
        return Err(CallError::Unsupported(
            "limits of containers other than their resources are not supported".into(),
        ));
    }
    let is_nested = path.is_nested();
    let parsed = launch_of(part, path, launch.command.as_ref(), launch.container.as_ref(), false)?;
    let ContainerCall::Launch(parsed) = parsed else { return Ok(parsed) };
    let has_resources = !launch.resources.is_empty();
    match (is_nested, parsed.image.is_some(), has_resources) {
        (true, false, true) => Err(CallError::Unsupported(
            "resources of a container below another are not supported: it shares those of the other".into(),
        )),
        (true, true, false) => Err(CallError::Unsupported(NO_RESOURCES.to_owned())),
        (true, false, false) => Ok(ContainerCall::Launch(parsed)),
        (false, ..) | (true, true, true) => {
            Ok(ContainerCall::Launch(NestedLaunch { limits: Some(Limits::of(&resources)), ..parsed }))
        }
    }
}

/// Its cgroup is not in that of the container above.
const NO_RESOURCES: &str =
    "a container of an image needs resources: it does not share those of the container above";

/// Nobody accounts for the resources of a container without an executor.
fn check_standalone(
    launch: &call::LaunchContainer,
    resources: &kernel_model::resources::Resources,
) -> Parsed<()> {
    for resource in resources {
        if !resource.reservations.is_empty() {
            return invalid("'launch_container.resources' must be unreserved");
        }
        if resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) {
            return invalid("'launch_container.resources' may not use persistent volumes");
        }
        if resource.revocable {
            return invalid("'launch_container.resources' must be non-revocable");
        }
    }
    let linux = launch.container.as_ref().and_then(|container| container.linux_info.as_ref());
    match linux.is_some_and(|linux| linux.share_cgroups == Some(true)) {
        true => invalid(
            "'launch_container' is invalid: containers without a parent cannot set 'share_cgroups' to 'true'",
        ),
        false => Ok(()),
    }
}

fn shares_cgroups(container: &v1::ContainerInfo) -> bool {
    container.linux_info.as_ref().is_none_or(v1::LinuxInfo::share_cgroups)
}

fn launch_of(
    part: &str,
    path: ContainerPath,
    command: Option<&v1::CommandInfo>,
    container: Option<&v1::ContainerInfo>,
    is_session: bool,
) -> Parsed<ContainerCall> {
    if let Some(command) = command {
        supported::check_variables(command)
            .or_else(|why| invalid(format!("'{part}.command' is invalid: {why}")))?;
        if texts_of(command).any(|text| text.contains('\0')) {
            return invalid(format!("'{part}.command' is invalid: It contains a NUL character"));
        }
    }
    let (mut terminal, mut image) = (None, None);
    if let Some(container) = container {
        (terminal, image) = container_of(part, &path, container, is_session)?;
    }
    let unsupported = |refused: supported::Refused| CallError::Unsupported(refused.to_string());
    command.map_or(Ok(()), supported::check_command).map_err(unsupported)?;
    let command = executor::command_from_wire(command.cloned().unwrap_or_default());
    let (limits, volumes, task) = (None, Vec::new(), None);
    Ok(ContainerCall::Launch(NestedLaunch {
        path,
        command,
        terminal,
        is_session,
        limits,
        image,
        volumes,
        task,
    }))
}

/// What a program is given, in which NUL is the end.
fn texts_of(command: &v1::CommandInfo) -> impl Iterator<Item = &str> {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    let variables =
        variables.flat_map(|variable| iter::once(variable.name.as_str()).chain(variable.value.as_deref()));
    command.value.as_deref().into_iter().chain(command.arguments.iter().map(String::as_str)).chain(variables)
}

/// The terminal or the image that a container asks for, which must ask for nothing else.
fn container_of(
    part: &str,
    path: &ContainerPath,
    container: &v1::ContainerInfo,
    is_session: bool,
) -> Parsed<(Option<WindowSize>, Option<ImageContainer>)> {
    use v1::container_info::Type;
    if container.r#type == Type::Docker as i32 && container.docker.is_none() {
        let why = "DockerInfo 'docker' is not set for DOCKER typed ContainerInfo";
        return invalid(format!("'{part}.container' is invalid: {why}"));
    }
    let shares = shares_cgroups(container);
    if is_session && !shares {
        return invalid(format!(
            "'{part}.container.linux_info' is invalid: 'share_cgroups' cannot be set to 'false' for nested container sessions"
        ));
    }
    if !shares && path.parent().is_some_and(|parent| parent.is_nested()) {
        return invalid(format!(
            "'{part}' is invalid: containers nested at the second level or greater cannot set 'share_cgroups' to 'false'"
        ));
    }
    if container.r#type != Type::Mesos as i32 {
        return Err(CallError::Unsupported("The provided ContainerInfo is not supported".to_owned()));
    }
    if !shares && path.is_nested() {
        return Err(CallError::Unsupported(
            "cgroups of nested containers are not supported: they share one".to_owned(),
        ));
    }
    let image = supported::check_nested(container);
    let image = image.map_err(|refused| CallError::Unsupported(refused.to_string()))?;
    if is_session && image.is_some() {
        return Err(CallError::Unsupported("a session is in the image of the container above".to_owned()));
    }
    let size = |window: &v1::tty_info::WindowSize| WindowSize {
        rows: u16::try_from(window.rows).unwrap_or(u16::MAX),
        columns: u16::try_from(window.columns).unwrap_or(u16::MAX),
    };
    let terminal = container.tty_info.as_ref();
    let terminal =
        terminal.map(|info| info.window_size.as_ref().map_or(WindowSize { rows: 0, columns: 0 }, size));
    Ok((terminal, image))
}
