//! Converts executors and commands from and to `mesos.v1.ExecutorInfo` and `CommandInfo`, and the durations and ids
//! that they share with tasks.

use std::{sync::Arc, time::Duration};

use kernel_model::{
    executor::{CommandInfo, ExecutorInfo, ExecutorKind, Uri},
    ids::{AgentId, ExecutorId, FrameworkId},
};

use crate::{
    Invalid, container, decode_extra, encode_extra,
    framework::{id_to_wire, some_text},
    labels,
    resources::{self, Format},
    v1::{self, command_info, environment, executor_info},
};

/// Encodes an executor. The agent's built-in command executor is shown as a custom one, as in Mesos.
pub fn to_wire(from: &ExecutorInfo, format: Format) -> v1::ExecutorInfo {
    let mut to: v1::ExecutorInfo = decode_extra(&from.extra);
    to.r#type = Some(match from.kind {
        ExecutorKind::Default => executor_info::Type::Default as i32,
        ExecutorKind::Custom | ExecutorKind::Command => executor_info::Type::Custom as i32,
    });
    to.executor_id = executor_id_to_wire(&from.executor_id);
    to.framework_id = from.framework_id.as_ref().map(id_to_wire);
    to.command = from.command.as_ref().map(command_to_wire);
    to.resources = resources::to_wire(&from.resources, format);
    to.name = some_text(&from.name);
    to.source = some_text(&from.source);
    to.data = (!from.data.is_empty()).then(|| from.data.clone());
    to.shutdown_grace_period = from.shutdown_grace.map(duration_to_wire);
    to.labels = labels::to_wire(&from.labels);
    to
}

/// Decodes an executor.
pub fn from_wire(mut from: v1::ExecutorInfo) -> Result<ExecutorInfo, Invalid> {
    let kind = match from.r#type.take() {
        Some(number) if number == executor_info::Type::Default as i32 => ExecutorKind::Default,
        _ => ExecutorKind::Custom,
    };
    // One that is not supported has been refused.
    let image = from.container.as_ref().and_then(|own| container::image_from_wire(own).ok());
    Ok(ExecutorInfo {
        kind,
        executor_id: ExecutorId::from(std::mem::take(&mut from.executor_id.value)),
        framework_id: from.framework_id.take().map(|id| FrameworkId::from(id.value)),
        command: from.command.take().map(command_from_wire),
        resources: resources::from_wire(std::mem::take(&mut from.resources))?,
        name: from.name.take().unwrap_or_default(),
        source: from.source.take().unwrap_or_default(),
        data: from.data.take().unwrap_or_default(),
        shutdown_grace: duration_from_wire(
            from.shutdown_grace_period.take(),
            "ExecutorInfo's 'shutdown_grace_period'",
        )?,
        labels: labels::from_wire(from.labels.take()),
        image: image.flatten().map(Arc::new),
        extra: encode_extra(&from),
    })
}

/// Encodes a command.
pub fn command_to_wire(from: &CommandInfo) -> v1::CommandInfo {
    let mut to: v1::CommandInfo = decode_extra(&from.extra);
    let secret = to.environment.take().map(|e| e.variables).unwrap_or_default();
    let plain = from.environment.iter().map(|(name, value)| environment::Variable {
        name: name.clone(),
        r#type: Some(environment::variable::Type::Value as i32),
        value: Some(value.clone()),
        secret: None,
    });
    let variables: Vec<_> = plain.chain(secret).collect();
    to.environment = (!variables.is_empty()).then_some(v1::Environment { variables });
    to.shell = Some(from.shell);
    to.value = from.value.clone();
    to.arguments = from.arguments.clone();
    to.user = from.user.clone();
    to.uris = from.uris.iter().map(uri_to_wire).collect();
    to
}

/// Decodes a command.
pub fn command_from_wire(mut from: v1::CommandInfo) -> CommandInfo {
    let variables = from.environment.take().map(|e| e.variables).unwrap_or_default();
    let (secret, plain): (Vec<_>, Vec<_>) = variables.into_iter().partition(|v| v.secret.is_some());
    from.environment = (!secret.is_empty()).then_some(v1::Environment { variables: secret });
    CommandInfo {
        shell: from.shell.take().unwrap_or(true),
        value: from.value.take(),
        arguments: std::mem::take(&mut from.arguments),
        environment: plain.into_iter().map(|v| (v.name, v.value.unwrap_or_default())).collect(),
        user: from.user.take(),
        uris: from.uris.drain(..).map(uri_from_wire).collect(),
        extra: encode_extra(&from),
    }
}

fn uri_to_wire(from: &Uri) -> command_info::Uri {
    command_info::Uri {
        value: from.value.clone(),
        executable: from.executable.then_some(true),
        extract: Some(from.extract),
        cache: from.cache.then_some(true),
        output_file: from.output_file.clone(),
    }
}

fn uri_from_wire(from: command_info::Uri) -> Uri {
    Uri {
        executable: from.executable.unwrap_or(false),
        extract: from.extract.unwrap_or(true),
        cache: from.cache.unwrap_or(false),
        output_file: from.output_file,
        value: from.value,
    }
}

/// Encodes an id.
pub fn executor_id_to_wire(id: &ExecutorId) -> v1::ExecutorId {
    v1::ExecutorId { value: id.as_str().to_owned() }
}

/// Encodes an id.
pub fn agent_id_to_wire(id: &AgentId) -> v1::AgentId {
    v1::AgentId { value: id.as_str().to_owned() }
}

/// Encodes a duration; saturates at 292 years.
pub fn duration_to_wire(from: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(from.as_nanos()).unwrap_or(i64::MAX) }
}

/// Decodes a duration, which must not be negative; `of` is the subject of the refusal.
pub fn duration_from_wire(from: Option<v1::DurationInfo>, of: &str) -> Result<Option<Duration>, Invalid> {
    match from.map(|d| u64::try_from(d.nanoseconds)) {
        None => Ok(None),
        Some(Ok(nanoseconds)) => Ok(Some(Duration::from_nanos(nanoseconds))),
        Some(Err(_)) => Err(Invalid::new(format!("{of} must be non-negative"))),
    }
}
