//! The operations of an ACCEPT. An invalid task is refused alone, as in Mesos, and not the call: the offers are used up
//! anyway, and the other tasks start.

use kernel_model::{
    ids::OperationId,
    scheduler::{MalformedTask, Operation},
    task::TaskInfo,
};

use super::present;
use crate::{
    Invalid, executor, task,
    v1::{
        self, environment,
        offer::{Operation as WireOperation, operation},
    },
};

/// Decodes operations in order; an operation with some malformed tasks becomes two.
pub(super) fn from_wire(operations: Vec<WireOperation>) -> Result<Vec<Operation>, Invalid> {
    let mut all = Vec::with_capacity(operations.len());
    for operation in operations {
        let id = operation.id.map(|id| OperationId::from(id.value));
        let kind = operation.r#type.and_then(|n| operation::Type::try_from(n).ok()).unwrap_or_default();
        match kind {
            operation::Type::Launch => {
                let tasks = present(operation.launch, "operation.launch")?.task_infos;
                launch(id.is_some(), tasks, &mut all);
            }
            operation::Type::LaunchGroup => {
                let group = present(operation.launch_group, "operation.launch_group")?;
                all.push(launch_group(id.is_some(), group));
            }
            other => all.push(Operation::Unsupported { id, kind: other.as_str_name() }),
        }
    }
    Ok(all)
}

fn launch(with_id: bool, infos: Vec<v1::TaskInfo>, all: &mut Vec<Operation>) {
    let (mut tasks, mut malformed) = (Vec::with_capacity(infos.len()), Vec::new());
    for info in infos {
        let name = name(&info);
        match task(info).and_then(|task| feedback("LAUNCH", with_id).map(|()| task)) {
            Ok(task) => tasks.push(task),
            Err(Invalid(why)) => malformed.push(MalformedTask { why, ..name }),
        }
    }
    all.push(Operation::Launch { tasks });
    if !malformed.is_empty() {
        all.push(Operation::Malformed { tasks: malformed, grouped: false });
    }
}

fn launch_group(with_id: bool, group: operation::LaunchGroup) -> Operation {
    let names: Vec<MalformedTask> = group.task_group.tasks.iter().map(name).collect();
    let parsed = || {
        feedback("LAUNCH_GROUP", with_id)?;
        check_command(group.executor.command.as_ref())?;
        let executor = executor::from_wire(group.executor)?;
        let tasks: Result<Vec<TaskInfo>, Invalid> = group.task_group.tasks.into_iter().map(task).collect();
        Ok(Operation::LaunchGroup { executor, tasks: tasks? })
    };
    parsed().unwrap_or_else(|Invalid(why)| Operation::Malformed {
        tasks: names.into_iter().map(|name| MalformedTask { why: why.clone(), ..name }).collect(),
        grouped: true,
    })
}

/// The fields of a refusal, without the reason.
fn name(info: &v1::TaskInfo) -> MalformedTask {
    MalformedTask {
        task_id: info.task_id.value.as_str().into(),
        agent_id: info.agent_id.value.as_str().into(),
        executor_id: info.executor.as_ref().map(|e| e.executor_id.value.as_str().into()),
        why: String::new(),
    }
}

fn feedback(kind: &str, wanted: bool) -> Result<(), Invalid> {
    match wanted {
        true => Err(Invalid::new(format!("Operation feedback is not supported for {kind} operations"))),
        false => Ok(()),
    }
}

fn task(info: v1::TaskInfo) -> Result<TaskInfo, Invalid> {
    check_command(info.command.as_ref())?;
    check_command(info.executor.as_ref().and_then(|executor| executor.command.as_ref()))?;
    if !info.limits.is_empty() {
        return Err(Invalid::new(
            "Resource limits of tasks are not supported: the agent is not TASK_RESOURCE_LIMITS capable",
        ));
    }
    info.health_check.as_ref().map_or(Ok(()), check_health)?;
    info.check.as_ref().map_or(Ok(()), check_check)?;
    task::info_from_wire(info)
}

fn check_health(check: &v1::HealthCheck) -> Result<(), Invalid> {
    use v1::health_check::Type;
    let wrong = |why: &str| Err(Invalid::new(format!("Task uses invalid health check: {why}")));
    let times = [
        check.delay_seconds(),
        check.interval_seconds(),
        check.timeout_seconds(),
        check.grace_period_seconds(),
    ];
    if times.iter().any(|length| !is_length(*length)) {
        return wrong("Expecting its lengths of time to be non-negative");
    }
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command, Some(command), ..) => runnable(command).or_else(|Invalid(why)| wrong(&why)),
        (Type::Command, None, ..) => wrong("Expecting 'command' to be set for COMMAND health check"),
        (Type::Http, _, Some(http), _) => {
            match (http.scheme.as_deref().unwrap_or("http"), http.path.as_deref().unwrap_or("/")) {
                ("http" | "https", path) if path.starts_with('/') => {
                    port(http.port).or_else(|Invalid(w)| wrong(&w))
                }
                ("http" | "https", path) => {
                    wrong(&format!("The path '{path}' of HTTP health check must start with '/'"))
                }
                (scheme, _) => wrong(&format!("Unsupported HTTP health check scheme: '{scheme}'")),
            }
        }
        (Type::Http, _, None, _) => wrong("Expecting 'http' to be set for HTTP health check"),
        (Type::Tcp, _, _, Some(tcp)) => port(tcp.port).or_else(|Invalid(why)| wrong(&why)),
        (Type::Tcp, _, _, None) => wrong("Expecting 'tcp' to be set for TCP health check"),
        (Type::Unknown, ..) => wrong("HealthCheck must specify 'type'"),
    }
}

fn check_check(check: &v1::CheckInfo) -> Result<(), Invalid> {
    use v1::check_info::Type;
    let wrong = |why: &str| Err(Invalid::new(format!("Task uses invalid check: {why}")));
    let times = [check.delay_seconds(), check.interval_seconds(), check.timeout_seconds()];
    if times.iter().any(|length| !is_length(*length)) {
        return wrong("Expecting its lengths of time to be non-negative");
    }
    match (check.r#type(), &check.command, &check.http, &check.tcp) {
        (Type::Command, Some(command), ..) => runnable(&command.command).or_else(|Invalid(why)| wrong(&why)),
        (Type::Command, None, ..) => wrong("Expecting 'command' to be set for COMMAND check"),
        (Type::Http, _, Some(http), _) => match http.path.as_deref().unwrap_or("/") {
            path if path.starts_with('/') => port(http.port).or_else(|Invalid(why)| wrong(&why)),
            path => wrong(&format!("The path '{path}' of HTTP check must start with '/'")),
        },
        (Type::Http, _, None, _) => wrong("Expecting 'http' to be set for HTTP check"),
        (Type::Tcp, _, _, Some(tcp)) => port(tcp.port).or_else(|Invalid(why)| wrong(&why)),
        (Type::Tcp, _, _, None) => wrong("Expecting 'tcp' to be set for TCP check"),
        (Type::Unknown, ..) => wrong("CheckInfo must specify 'type'"),
    }
}

fn is_length(seconds: f64) -> bool {
    seconds.is_finite() && seconds >= 0.0
}

fn runnable(command: &v1::CommandInfo) -> Result<(), Invalid> {
    check_command(Some(command))?;
    match command.value {
        Some(_) => Ok(()),
        None => Err(Invalid::new("Its command must contain a value")),
    }
}

fn port(number: u32) -> Result<(), Invalid> {
    match (1..=u32::from(u16::MAX)).contains(&number) {
        true => Ok(()),
        false => Err(Invalid::new(format!("'{number}' is not a port"))),
    }
}

fn check_command(command: Option<&v1::CommandInfo>) -> Result<(), Invalid> {
    let variables = command.and_then(|command| command.environment.as_ref()).map(|e| &e.variables);
    variables.into_iter().flatten().try_for_each(check_variable)
}

fn check_variable(variable: &environment::Variable) -> Result<(), Invalid> {
    use environment::variable::Type;
    let name = &variable.name;
    let wrong = |why: &str| Err(Invalid::new(format!("Environment variable '{name}' {why}")));
    match variable.r#type() {
        Type::Value if variable.secret.is_some() => wrong("of type 'VALUE' must not have a secret set"),
        Type::Value if variable.value.is_none() => wrong("of type 'VALUE' must have a value set"),
        Type::Secret if variable.value.is_some() => wrong("of type 'SECRET' must not have a value set"),
        Type::Secret if variable.secret.is_none() => wrong("of type 'SECRET' must have a secret set"),
        Type::Unknown => wrong("has an unknown type"),
        Type::Value | Type::Secret => Ok(()),
    }
}
