//! The rules for tasks and executors to launch that need nothing but the message, in Mesos' order and with its texts
//! (upstream: `master/validation.cpp`, `common/validation.cpp`). The master checks what depends on its tables.

use kernel_model::ids;

use crate::{
    Invalid,
    resources::{describe, validate_for_launch},
    v1::{
        self, CheckInfo, CommandInfo, ContainerInfo, DurationInfo, ExecutorInfo, HealthCheck, TaskInfo,
        Volume, check_info, container_info, environment, executor_info, health_check, secret, volume,
    },
};

type Checked = Result<(), Invalid>;

fn refuse(why: impl Into<String>) -> Checked {
    Err(Invalid::new(why))
}

/// Puts this text before the reason.
fn within(checked: Checked, of: &str) -> Checked {
    checked.map_err(|Invalid(why)| Invalid(format!("{of}: {why}")))
}

/// Sets the type of a health check that has none, if only one fits.
pub(super) fn complete_health_check(task: &mut TaskInfo) {
    let Some(check) = &mut task.health_check else { return };
    if check.r#type.is_some() {
        return;
    }
    match (&check.command, &check.http) {
        (Some(_), None) => check.r#type = Some(health_check::Type::Command as i32),
        (None, Some(_)) => check.r#type = Some(health_check::Type::Http as i32),
        _ => {}
    }
}

/// A task of LAUNCH with its executor.
pub(super) fn check_launched(task: &TaskInfo) -> Checked {
    check_task(task)?;
    if task.executor.is_some() == task.command.is_some() {
        return refuse("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present");
    }
    if let Some(executor) = &task.executor {
        check_executor(executor)?;
        check_executor_resources(executor)?;
        if executor.r#type.is_some_and(|number| number != executor_info::Type::Custom as i32) {
            return refuse("'ExecutorInfo.type' must be 'CUSTOM'");
        }
        if executor.command.is_none() {
            return refuse("'ExecutorInfo.command' must be set");
        }
        if executor.resources.iter().any(|resource| resource.shared.is_some()) {
            let shown: Vec<String> = executor.resources.iter().map(describe).collect();
            return refuse(format!(
                "Executor resources {} should not contain any shared resources",
                shown.join("; ")
            ));
        }
        check_shared_cgroups_of_executor(executor)?;
    }
    match shares_cgroups(task.container.as_ref()) {
        Some(false) => refuse("Only tasks in a task group may have 'share_cgroups' set to 'false'"),
        _ => Ok(()),
    }
}

/// The tasks and the executor of LAUNCH_GROUP.
pub(super) fn check_group(executor: &ExecutorInfo, tasks: &[TaskInfo]) -> Checked {
    for task in tasks {
        let checked = check_task(task).and_then(|()| check_nested(task));
        within(checked, &format!("Task '{}' is invalid", task.task_id.value))?;
    }
    check_executor(executor)?;
    if executor.framework_id.is_none() {
        return refuse("'ExecutorInfo.framework_id' must be set");
    }
    check_executor_resources(executor)?;
    match executor.r#type {
        None => return refuse("'ExecutorInfo.type' must be set"),
        Some(number) if number == executor_info::Type::Unknown as i32 => {
            return refuse("Unknown executor type");
        }
        Some(_) => {}
    }
    if executor.container.as_ref().is_some_and(is_docker) {
        return refuse("Docker ContainerInfo is not supported on the executor");
    }
    check_shared_cgroups_of_executor(executor)?;
    let mut sharing = tasks.iter().map(|task| shares_cgroups(task.container.as_ref()).unwrap_or(true));
    let first = sharing.next();
    match sharing.all(|shares| Some(shares) == first) {
        true => Ok(()),
        false => refuse(
            "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a \
             single executor",
        ),
    }
}

fn check_nested(task: &TaskInfo) -> Checked {
    let Some(container) = &task.container else { return Ok(()) };
    let by_network = task
        .health_check
        .as_ref()
        .is_some_and(|check| matches!(check.r#type(), health_check::Type::Http | health_check::Type::Tcp));
    if !container.network_infos.is_empty() && by_network {
        return refuse(
            "HTTP and TCP health checks are not supported for nested containers not joining parent's network",
        );
    }
    match is_docker(container) {
        true => refuse("Docker ContainerInfo is not supported on the task"),
        false => Ok(()),
    }
}

fn check_task(task: &TaskInfo) -> Checked {
    ids::check(&task.task_id.value).or_else(|why| refuse(why.to_string()))?;
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    check_length(grace, "Task's 'kill_policy.grace_period'")?;
    check_length(task.max_completion_time.as_ref(), "Task's `max_completion_time`")?;
    if let Some(check) = &task.check {
        within(check_check(check), "Task uses invalid check")?;
    }
    if let Some(check) = &task.health_check {
        within(check_health(check), "Task uses invalid health check")?;
    }
    // Amounts of zero count here, though they are not resources afterwards.
    if task.resources.is_empty() {
        return refuse("Task uses no resources");
    }
    validate_for_launch(&task.resources)
        .or_else(|why| refuse(format!("Task uses invalid resources: {why}")))?;
    if let Some(command) = &task.command {
        within(check_command(command), "Task's `CommandInfo` is invalid")?;
    }
    if let Some(container) = &task.container {
        within(check_container(container), "Task's `ContainerInfo` is invalid")?;
    }
    match task.limits.is_empty() {
        true => Ok(()),
        false => refuse("Agent is not capable of handling task resource limits"),
    }
}

fn check_executor(executor: &ExecutorInfo) -> Checked {
    match executor.r#type() {
        executor_info::Type::Default => {
            if executor.command.is_some() {
                return refuse("'ExecutorInfo.command' must not be set for 'DEFAULT' executor");
            }
            if let Some(container) = &executor.container {
                if container.r#type != container_info::Type::Mesos as i32 {
                    return refuse("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor");
                }
                if container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()) {
                    return refuse(
                        "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
                    );
                }
            }
        }
        executor_info::Type::Custom if executor.command.is_none() => {
            return refuse("'ExecutorInfo.command' must be set for 'CUSTOM' executor");
        }
        executor_info::Type::Custom | executor_info::Type::Unknown => {}
    }
    ids::check(&executor.executor_id.value).or_else(|why| refuse(why.to_string()))?;
    check_length(executor.shutdown_grace_period.as_ref(), "ExecutorInfo's 'shutdown_grace_period'")?;
    if let Some(command) = &executor.command {
        within(check_command(command), "Executor's `CommandInfo` is invalid")?;
    }
    match &executor.container {
        Some(container) => within(check_container(container), "Executor's `ContainerInfo` is invalid"),
        None => Ok(()),
    }
}

fn check_executor_resources(executor: &ExecutorInfo) -> Checked {
    validate_for_launch(&executor.resources)
        .or_else(|why| refuse(format!("Executor uses invalid resources: {why}")))
}

fn check_length(length: Option<&DurationInfo>, of: &str) -> Checked {
    match length.is_some_and(|length| length.nanoseconds < 0) {
        true => refuse(format!("{of} must be non-negative")),
        false => Ok(()),
    }
}

fn check_shared_cgroups_of_executor(executor: &ExecutorInfo) -> Checked {
    match shares_cgroups(executor.container.as_ref()) {
        Some(true) => refuse("The 'share_cgroups' field cannot be set to 'true' on executor containers"),
        _ => Ok(()),
    }
}

fn shares_cgroups(container: Option<&ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}

fn is_docker(container: &ContainerInfo) -> bool {
    container.r#type == container_info::Type::Docker as i32
}

fn check_health(check: &HealthCheck) -> Checked {
    use health_check::Type;
    if check.r#type.is_none() {
        return refuse("HealthCheck must specify 'type'");
    }
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command, Some(command), ..) => {
            check_runnable(command, "Command health check", "Health check")?
        }
        (Type::Command, None, ..) => return refuse("Expecting 'command' to be set for COMMAND health check"),
        (Type::Http, _, Some(http), _) => {
            let scheme = http.scheme.as_deref().unwrap_or("http");
            if !matches!(scheme, "http" | "https") {
                return refuse(format!("Unsupported HTTP health check scheme: '{scheme}'"));
            }
            check_path(http.path.as_deref(), "HTTP health check")?;
            check_port(http.port)?;
        }
        (Type::Http, _, None, _) => return refuse("Expecting 'http' to be set for HTTP health check"),
        (Type::Tcp, _, _, Some(tcp)) => check_port(tcp.port)?,
        (Type::Tcp, _, _, None) => return refuse("Expecting 'tcp' to be set for TCP health check"),
        (Type::Unknown, ..) => return refuse("'UNKNOWN' is not a valid health check type"),
    }
    check_seconds(&[
        ("delay_seconds", check.delay_seconds),
        ("grace_period_seconds", check.grace_period_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn check_check(check: &CheckInfo) -> Checked {
    use check_info::Type;
    if check.r#type.is_none() {
        return refuse("CheckInfo must specify 'type'");
    }
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command, Some(command), ..) => check_runnable(&command.command, "Command check", "Check")?,
        (Type::Command, None, ..) => return refuse("Expecting 'command' to be set for COMMAND check"),
        (Type::Http, _, Some(http), _) => {
            check_path(http.path.as_deref(), "HTTP check")?;
            check_port(http.port)?;
        }
        (Type::Http, _, None, _) => return refuse("Expecting 'http' to be set for HTTP check"),
        (Type::Tcp, _, _, Some(tcp)) => check_port(tcp.port)?,
        (Type::Tcp, _, _, None) => return refuse("Expecting 'tcp' to be set for TCP check"),
        (Type::Unknown, ..) => return refuse("'UNKNOWN' is not a valid check type"),
    }
    check_seconds(&[
        ("delay_seconds", check.delay_seconds),
        ("interval_seconds", check.interval_seconds),
        ("timeout_seconds", check.timeout_seconds),
    ])
}

fn check_runnable(command: &CommandInfo, kind: &str, owner: &str) -> Checked {
    if command.value.is_none() {
        let part = if command.shell.unwrap_or(true) { "'shell command'" } else { "'executable path'" };
        return refuse(format!("{kind} must contain {part}"));
    }
    within(check_command(command), &format!("{owner}'s `CommandInfo` is invalid"))
}

fn check_path(path: Option<&str>, kind: &str) -> Checked {
    match path {
        Some(path) if !path.starts_with('/') => {
            refuse(format!("The path '{path}' of {kind} must start with '/'"))
        }
        _ => Ok(()),
    }
}

/// Mesos accepts other numbers, and the check fails when it runs.
fn check_port(number: u32) -> Checked {
    match (1..=u32::from(u16::MAX)).contains(&number) {
        true => Ok(()),
        false => refuse(format!("'{number}' is not a port")),
    }
}

fn check_seconds(lengths: &[(&str, Option<f64>)]) -> Checked {
    let wrong = |seconds: f64| !(seconds.is_finite() && seconds >= 0.0);
    match lengths.iter().find(|(_, length)| length.is_some_and(wrong)) {
        Some((field, _)) => refuse(format!("Expecting '{field}' to be non-negative")),
        None => Ok(()),
    }
}

fn check_command(command: &CommandInfo) -> Checked {
    let variables = command.environment.as_ref().map(|environment| &environment.variables);
    variables.into_iter().flatten().try_for_each(check_variable)
}

fn check_variable(variable: &environment::Variable) -> Checked {
    use environment::variable::Type;
    let wrong = |why: &str| refuse(format!("Environment variable '{}' {why}", variable.name));
    match (variable.r#type(), &variable.secret) {
        (Type::Secret, None) => wrong("of type 'SECRET' must have a secret set"),
        (Type::Secret, Some(_)) if variable.value.is_some() => {
            wrong("of type 'SECRET' must not have a value set")
        }
        (Type::Secret, Some(secret)) => {
            check_secret(secret)
                .or_else(|Invalid(why)| wrong(&format!("specifies an invalid secret: {why}")))?;
            match secret.value.as_ref().is_some_and(|value| value.data.contains(&0)) {
                true => {
                    wrong("specifies a secret containing null bytes, which is not allowed in the environment")
                }
                false => Ok(()),
            }
        }
        (Type::Value, _) if variable.value.is_none() => wrong("of type 'VALUE' must have a value set"),
        (Type::Value, Some(_)) => wrong("of type 'VALUE' must not have a secret set"),
        (Type::Value, None) => Ok(()),
        (Type::Unknown, _) => refuse("Environment variable of type 'UNKNOWN' is not allowed"),
    }
}

fn check_secret(from: &v1::Secret) -> Checked {
    match (from.r#type(), &from.reference, &from.value) {
        (secret::Type::Reference, None, _) => {
            refuse("Secret of type REFERENCE must have the 'reference' field set")
        }
        (secret::Type::Reference, Some(reference), Some(_)) => refuse(format!(
            "Secret '{}' of type REFERENCE must not have the 'value' field set",
            reference.name
        )),
        (secret::Type::Value, _, None) => refuse("Secret of type VALUE must have the 'value' field set"),
        (secret::Type::Value, Some(_), Some(_)) => {
            refuse("Secret of type VALUE must not have the 'reference' field set")
        }
        _ => Ok(()),
    }
}

fn check_container(container: &ContainerInfo) -> Checked {
    for volume in &container.volumes {
        within(check_volume(volume), "Invalid volume")?;
    }
    if !is_docker(container) {
        return Ok(());
    }
    match &container.docker {
        None => refuse("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo"),
        Some(docker) if docker.parameters.iter().any(|parameter| parameter.key == "name") => {
            refuse("Parameter in DockerInfo must not be 'name'")
        }
        Some(_) => Ok(()),
    }
}

fn check_volume(from: &Volume) -> Checked {
    use volume::source::Type;
    let parts = [from.host_path.is_some(), from.image.is_some(), from.source.is_some()];
    if parts.iter().filter(|is_set| **is_set).count() != 1 {
        return refuse("Only one of them should be set: 'host_path', 'image' and 'source'");
    }
    let Some(source) = &from.source else { return Ok(()) };
    let (is_set, field, kind) = match source.r#type() {
        Type::DockerVolume => (source.docker_volume.is_some(), "docker_volume", "DOCKER_VOLUME"),
        Type::HostPath => (source.host_path.is_some(), "host_path", "HOST_PATH"),
        Type::SandboxPath => (source.sandbox_path.is_some(), "sandbox_path", "SANDBOX_PATH"),
        Type::Secret => (source.secret.is_some(), "secret", "SECRET"),
        Type::CsiVolume => (source.csi_volume.is_some(), "csi_volume", "CSI"),
        Type::Unknown => return refuse("'source.type' is unknown"),
    };
    match is_set {
        true => Ok(()),
        false => refuse(format!("'source.{field}' is not set for {kind} volume")),
    }
}
