//! Validation of tasks to launch, with Mesos' messages (upstream: `master/validation.cpp`). Pure: takes a context,
//! returns the resources that are needed.

use std::collections::BTreeSet;

use kernel_model::{
    executor::{ExecutorInfo, ExecutorKind},
    resources::{Resource, Resources, Scalar, Value},
    task::TaskInfo,
};

use super::state::{Agent, Framework};

/// What a task is validated against.
pub(super) struct Context<'a> {
    pub(super) framework: &'a Framework,
    pub(super) agent: &'a Agent,
    pub(super) remaining: &'a Resources,
}

/// Validates a task of LAUNCH; returns the resources that it takes of the offers, with those of its executor if that is
/// new on the agent.
pub(super) fn task(context: &Context<'_>, task: &TaskInfo) -> Result<Resources, String> {
    check_task_alone(context, task)?;
    if task.executor.is_some() == task.command.is_some() {
        return Err(
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present".to_owned()
        );
    }
    let mut needed = task.resources.clone();
    if let Some(executor) = &task.executor {
        if executor.kind == ExecutorKind::Default {
            return Err("'ExecutorInfo.type' must be 'CUSTOM' for a task of LAUNCH".to_owned());
        }
        if executor.command.is_none() {
            return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
        }
        check_executor(context, executor)?;
        if is_new(context, executor) {
            needed += &executor.resources;
        }
    }
    if !context.remaining.contains(&needed) {
        return Err(match &task.executor {
            Some(_) => format!(
                "Total resources {needed} required by task and its executor is more than available {}",
                context.remaining
            ),
            None => format!("Task uses more resources {needed} than available {}", context.remaining),
        });
    }
    Ok(needed)
}

/// Validates a LAUNCH_GROUP. The error includes the index of the invalid task, if one is.
pub(super) fn group(
    context: &Context<'_>,
    executor: &ExecutorInfo,
    tasks: &[TaskInfo],
) -> Result<Resources, (Option<usize>, String)> {
    check_group_executor(context, executor).map_err(|why| (None, why))?;
    if tasks.is_empty() {
        return Err((None, "Task group cannot be empty".to_owned()));
    }
    let mut needed = Resources::new();
    let mut ids = BTreeSet::new();
    for (index, task) in tasks.iter().enumerate() {
        let blame = |why: String| (Some(index), why);
        check_task_alone(context, task).map_err(blame)?;
        if !ids.insert(&task.task_id) {
            return Err(blame(format!("Task has duplicate ID: {}", task.task_id)));
        }
        if task.executor.as_ref().is_some_and(|own| !same_executor(own, executor)) {
            return Err(blame("The 'ExecutorInfo' of task differs from that of its task group".to_owned()));
        }
        needed += &task.resources;
    }
    if is_new(context, executor) {
        needed += &executor.resources;
    }
    if !context.remaining.contains(&needed) {
        let why = format!(
            "Total resources {needed} required by task group and its executor are more than available {}",
            context.remaining
        );
        return Err((None, why));
    }
    Ok(needed)
}

fn check_group_executor(context: &Context<'_>, executor: &ExecutorInfo) -> Result<(), String> {
    match executor.kind {
        ExecutorKind::Default if executor.command.is_some() => {
            return Err("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".to_owned());
        }
        ExecutorKind::Custom if executor.command.is_none() => {
            return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
        }
        ExecutorKind::Command => return Err("'ExecutorInfo.type' must be set".to_owned()),
        _ => {}
    }
    check_executor(context, executor)?;
    let resources = &executor.resources;
    if resources.scalar("cpus") < Scalar(10) {
        return Err("Executor uses less CPUs than the minimum required (0.01)".to_owned());
    }
    if resources.scalar("mem") < Scalar::from_units(32) {
        return Err("Executor uses less memory than the minimum required (32MB)".to_owned());
    }
    if resources.scalar("disk") <= Scalar::ZERO {
        return Err("Executor must use 'disk' resource".to_owned());
    }
    Ok(())
}

fn check_task_alone(context: &Context<'_>, task: &TaskInfo) -> Result<(), String> {
    check_id(task.task_id.as_str())?;
    if context.framework.tasks.contains_key(&task.task_id) {
        return Err(format!("Task has duplicate ID: {}", task.task_id));
    }
    if context.framework.unreachable_tasks.iter().any(|t| t.info.task_id == task.task_id) {
        return Err(format!("Task reuses the ID of an unreachable task: {}", task.task_id));
    }
    if task.agent_id != context.agent.id {
        return Err(format!(
            "Task uses invalid agent {} while agent {} is expected",
            task.agent_id, context.agent.id
        ));
    }
    if task.resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    check_resources(&task.resources).map_err(|why| format!("Task uses invalid resources: {why}"))
}

fn check_resources(resources: &Resources) -> Result<(), String> {
    let mut roles = resources.iter().filter_map(|resource| resource.allocation_role.as_ref());
    let first = roles.next();
    if roles.any(|role| Some(role) != first) {
        return Err("The resources are not allocated to a single role".to_owned());
    }
    for resource in resources {
        if &*resource.name == "gpus" && !is_whole(resource) {
            return Err("The 'gpus' resource must be an unsigned integer".to_owned());
        }
        let mixed = |other: &Resource| other.name == resource.name && other.revocable != resource.revocable;
        if resources.iter().any(mixed) {
            return Err(format!(
                "Cannot use both revocable and non-revocable '{}' at the same time",
                resource.name
            ));
        }
    }
    Ok(())
}

fn is_whole(resource: &Resource) -> bool {
    matches!(resource.value, Value::Scalar(amount) if amount.0 % 1000 == 0)
}

fn check_executor(context: &Context<'_>, executor: &ExecutorInfo) -> Result<(), String> {
    check_id(executor.executor_id.as_str())?;
    if let Some(framework_id) = &executor.framework_id
        && *framework_id != context.framework.id
    {
        return Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {framework_id} vs Expected: {})",
            context.framework.id
        ));
    }
    check_resources(&executor.resources).map_err(|why| format!("Executor uses invalid resources: {why}"))?;
    match existing(context, executor) {
        Some(existing) if !same_executor(existing, executor) => Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n{line}\n\
             Existing ExecutorInfo:\n{existing:?}\n{line}\n\nTask's ExecutorInfo:\n{executor:?}\n{line}\n",
            line = "-".repeat(60)
        )),
        _ => Ok(()),
    }
}

fn existing<'a>(context: &Context<'a>, executor: &ExecutorInfo) -> Option<&'a ExecutorInfo> {
    let key = (context.framework.id.clone(), executor.executor_id.clone());
    context.agent.executors.get(&key).map(|executor| &**executor)
}

fn is_new(context: &Context<'_>, executor: &ExecutorInfo) -> bool {
    existing(context, executor).is_none()
}

/// Whether two descriptions are of one executor. The allocation role is ignored: tasks of all roles of a framework can
/// share an executor, which Mesos does not allow.
fn same_executor(a: &ExecutorInfo, b: &ExecutorInfo) -> bool {
    if std::ptr::eq(a, b) {
        return true;
    }
    let same_resources = a.resources == b.resources || a.resources.unallocated() == b.resources.unallocated();
    same_resources
        && a.kind == b.kind
        && a.executor_id == b.executor_id
        && a.command == b.command
        && a.name == b.name
        && a.source == b.source
        && a.data == b.data
        && a.shutdown_grace == b.shutdown_grace
        && a.labels == b.labels
        && a.extra == b.extra
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("ID must not be empty".to_owned());
    }
    if id.len() > 255 {
        return Err("ID must not be greater than 255 characters".to_owned());
    }
    if id == "." || id == ".." {
        return Err(format!("'{id}' is disallowed"));
    }
    if !kernel_model::ids::is_legal(id) {
        return Err(format!("'{id}' contains invalid characters"));
    }
    Ok(())
}
