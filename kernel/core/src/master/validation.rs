//! Validation of tasks to launch, with Mesos' messages (upstream: `master/validation.cpp`). Pure: takes a context,
//! returns the resources that are needed.

use std::collections::BTreeSet;

use kernel_model::{
    caller::Caller,
    container::{ContainerNetwork, ImageContainer},
    executor::{ExecutorInfo, ExecutorKind},
    ids,
    resources::{Ranges, Resources, Scalar, Value, general},
    task::TaskInfo,
    text,
};

use super::state::{Agent, Framework};

mod executors;

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
    if let Some(image) = &task.image {
        check_image(context, image)?;
        check_port_mappings(image, &task.resources)?;
    }
    if let Some(executor) = &task.executor {
        check_executor(context, executor)?;
        if executor.kind == ExecutorKind::Default {
            return Err("'ExecutorInfo.type' must be 'CUSTOM'".to_owned());
        }
        if executor.command.is_none() {
            return Err("'ExecutorInfo.command' must be set".to_owned());
        }
        check_together(context, task, executor)?;
        if is_new(context, executor) {
            needed += &executor.resources;
        }
    }
    if !context.remaining.contains(&needed) {
        return Err(text::bounded(format_args!(
            "Total resources {needed} required by task and its executor is more than available {}",
            context.remaining
        )));
    }
    Ok(needed)
}

fn check_together(context: &Context<'_>, task: &TaskInfo, executor: &ExecutorInfo) -> Result<(), String> {
    let mut total = task.resources.clone();
    total += &executor.resources;
    let wrong = |why: String| Err(format!("Task and its executor {why}"));
    if !gpus_are_whole(&total) {
        return wrong(format!("use invalid resources: {GPUS_NOT_WHOLE}"));
    }
    if overlap([&task.resources, &executor.resources], &total) {
        return Err(format!(
            "There are overlapping resources in the task resources {} and executor resources {}",
            task.resources, executor.resources
        ));
    }
    // The executor of Pods gives each of them a control group of its own.
    if context.framework.caller == Some(Caller::InProcess) {
        return Ok(());
    }
    unmixed(&total).or_else(|why| wrong(format!("mix revocable and non-revocable resources: {why}")))
}

/// Validates a LAUNCH_GROUP.
pub(super) fn group(
    context: &Context<'_>,
    executor: &ExecutorInfo,
    tasks: &[TaskInfo],
) -> Result<Resources, String> {
    let mut ids = BTreeSet::new();
    for task in tasks {
        let invalid = |why: String| format!("Task '{}' is invalid: {why}", task.task_id);
        check_task_alone(context, task).map_err(invalid)?;
        if let (ExecutorKind::Default, Some(image)) = (executor.kind, &task.image) {
            check_image(context, image).map_err(invalid)?;
        }
        if !ids.insert(&task.task_id) {
            return Err(invalid(format!("Task has duplicate ID: {}", task.task_id)));
        }
    }
    check_executor(context, executor)?;
    if executor.kind == ExecutorKind::Command {
        return Err("'ExecutorInfo.type' must be set".to_owned());
    }
    if tasks.is_empty() {
        return Err("Task group cannot be empty".to_owned());
    }
    let differs =
        |task: &&TaskInfo| task.executor.as_ref().is_some_and(|own| !executors::are_same(own, executor));
    if let Some(task) = tasks.iter().find(differs) {
        return Err(format!(
            "The `ExecutorInfo` of task '{}' is different from executor '{}'",
            task.task_id, executor.executor_id
        ));
    }
    check_minimum(executor)?;
    let mut needed = Resources::new();
    for task in tasks {
        needed += &task.resources;
    }
    let mut total = needed.clone();
    total += &executor.resources;
    unmixed(&total)
        .map_err(|why| format!("Task group and executor mix revocable and non-revocable resources: {why}"))?;
    let parts = || tasks.iter().map(|task| &task.resources);
    if overlap(parts().chain([&executor.resources]), &total) {
        let shown: Vec<String> = parts().map(ToString::to_string).collect();
        return Err(format!(
            "There are overlapping resources in the task group's task resources [ {} ] and/or executor resources {}",
            shown.join(", "),
            executor.resources
        ));
    }
    let needed = if is_new(context, executor) { total } else { needed };
    if !context.remaining.contains(&needed) {
        return Err(format!(
            "Total resources {needed} required by task group and its executor are more than available {}",
            context.remaining
        ));
    }
    Ok(needed)
}

/// The least that an executor of a group needs.
fn check_minimum(executor: &ExecutorInfo) -> Result<(), String> {
    let (id, amount) = (&executor.executor_id, |name| executor.resources.scalar(name));
    let shown = |amount: Scalar, text: String| if amount > Scalar::ZERO { text } else { "None".to_owned() };
    let cpus = amount("cpus");
    if cpus < Scalar(10) {
        let cpus = shown(cpus, general(cpus.as_f64(), 6));
        return Err(format!("Executor '{id}' uses less CPUs ({cpus}) than the minimum required (0.01)"));
    }
    let mem = amount("mem");
    if mem < Scalar::from_units(32) {
        let mem = shown(mem, megabytes(mem));
        return Err(format!("Executor '{id}' uses less memory ({mem}) than the minimum required (32MB)"));
    }
    if amount("disk") <= Scalar::ZERO {
        return Err(format!("Executor '{id}' uses no disk"));
    }
    Ok(())
}

/// An amount of memory below a gigabyte, in the largest unit that divides it.
fn megabytes(amount: Scalar) -> String {
    let bytes = (amount.as_f64() * 1024.0 * 1024.0) as u64;
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{}MB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{}KB", bytes >> 10),
        bytes => format!("{bytes}B"),
    }
}

fn check_task_alone(context: &Context<'_>, task: &TaskInfo) -> Result<(), String> {
    ids::check(task.task_id.as_str()).map_err(|error| error.to_string())?;
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
    check_resources(&task.resources, "Task", "task")
}

fn check_resources(resources: &Resources, owner: &str, kind: &str) -> Result<(), String> {
    if !gpus_are_whole(resources) {
        return Err(format!("{owner} uses invalid resources: {GPUS_NOT_WHOLE}"));
    }
    let mut roles = resources.iter().filter_map(|resource| resource.allocation_role.as_ref());
    if let Some(first) = roles.next()
        && let Some(other) = roles.find(|role| *role != first)
    {
        return Err(format!(
            "Invalid {kind} resources: The resources have multiple allocation roles ('{other}' and '{first}') but \
             only one allocation role is allowed"
        ));
    }
    unmixed(resources).map_err(|why| format!("{owner} mixes revocable and non-revocable resources: {why}"))
}

const GPUS_NOT_WHOLE: &str = "Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer";

fn gpus_are_whole(resources: &Resources) -> bool {
    resources.scalar("gpus").0 % 1000 == 0
}

/// Refuses revocable and non-revocable resources of one name.
fn unmixed(resources: &Resources) -> Result<(), String> {
    let names = |revocable: bool| {
        resources.iter().filter(move |r| r.revocable == revocable).map(|r| &*r.name).collect::<BTreeSet<_>>()
    };
    match names(true).intersection(&names(false)).next() {
        Some(name) => Err(format!("Cannot use both revocable and non-revocable '{name}' at the same time")),
        None => Ok(()),
    }
}

/// Whether two of the parts have a number of a range or an item of a set in common.
fn overlap<'a>(parts: impl IntoIterator<Item = &'a Resources>, total: &Resources) -> bool {
    let size = |resources: &Resources| {
        resources.iter().fold(0u64, |sum, resource| match &resource.value {
            Value::Scalar(_) => sum,
            Value::Ranges(ranges) => sum.saturating_add(ranges.count()),
            Value::Set(items) => sum.saturating_add(items.len() as u64),
        })
    };
    parts.into_iter().fold(0u64, |sum, part| sum.saturating_add(size(part))) != size(total)
}

fn check_executor(context: &Context<'_>, executor: &ExecutorInfo) -> Result<(), String> {
    match executor.kind {
        ExecutorKind::Default if executor.command.is_some() => {
            return Err("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".to_owned());
        }
        ExecutorKind::Custom if executor.command.is_none() => {
            return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
        }
        _ => {}
    }
    ids::check(executor.executor_id.as_str()).map_err(|error| error.to_string())?;
    if let Some(framework_id) = &executor.framework_id
        && *framework_id != context.framework.id
    {
        return Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {framework_id} vs Expected: {})",
            context.framework.id
        ));
    }
    check_resources(&executor.resources, "Executor", "executor")?;
    executor.image.as_ref().map_or(Ok(()), |image| check_image(context, image))?;
    match existing(context, executor) {
        Some(existing) => executors::check_same(existing, executor),
        None => Ok(()),
    }
}

/// Refuses a container of an image for an agent without a container runtime, or whose container runtime is not ready: there it could only fail.
fn check_image(context: &Context<'_>, image: &ImageContainer) -> Result<(), String> {
    let agent = context.agent;
    let why = match (&agent.runtime_failure, agent.info.runs_images) {
        (_, false) => "it has no container runtime",
        (Some(failure), true) => failure.as_str(),
        (None, true) => return Ok(()),
    };
    Err(text::bounded(format_args!(
        "Agent {} at {} cannot run image '{}': {why}",
        agent.id, agent.info.hostname, image.image
    )))
}

/// Mesos' docker containerizer has these rules on the agent.
fn check_port_mappings(image: &ImageContainer, resources: &Resources) -> Result<(), String> {
    let ContainerNetwork::Bridge(mappings) = &image.network else { return Ok(()) };
    let all = || resources.iter().filter(|resource| &*resource.name == "ports");
    let owns = |port: u16| {
        all().any(|resource| match &resource.value {
            Value::Ranges(ranges) => ranges.contains(&Ranges::new([(port.into(), port.into())])),
            Value::Scalar(_) | Value::Set(_) => false,
        })
    };
    if !mappings.is_empty() && all().next().is_none() {
        return Err("Port mappings require port resources".to_owned());
    }
    match mappings.iter().find(|mapping| !owns(mapping.host_port)) {
        Some(mapping) => Err(format!("Port [{}] not included in resources", mapping.host_port)),
        None => Ok(()),
    }
}

fn existing<'a>(context: &Context<'a>, executor: &ExecutorInfo) -> Option<&'a ExecutorInfo> {
    let key = (context.framework.id.clone(), executor.executor_id.clone());
    context.agent.executors.get(&key).map(|executor| &**executor)
}

fn is_new(context: &Context<'_>, executor: &ExecutorInfo) -> bool {
    existing(context, executor).is_none()
}
