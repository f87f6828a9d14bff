//! The operations of an ACCEPT. What is wrong with a task is told of that task, as Mesos does it, not of the call: the offers
//! are used up either way, and the other tasks start.

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

/// Parses operations in their order; one with tasks that are none becomes two.
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

/// What a refusal of the task says of it, but why.
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
    task::info_from_wire(info)
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
