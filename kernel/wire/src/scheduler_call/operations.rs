//! The operations of an ACCEPT. As in Mesos, an invalid task is refused alone, and not the call: the offers are used up
//! anyway, and the other tasks start. But an invalid resource refuses all tasks of its operation.

use kernel_model::{
    ids::OperationId,
    resources::ConversionKind,
    scheduler::{MalformedTask, Operation},
    task::TaskInfo,
    text,
};

use super::task_rules::{check_group, check_launched, complete_health_check};
use crate::{
    Invalid, executor, limits, resources, supported, task,
    v1::{
        self,
        offer::{Operation as WireOperation, operation},
    },
};

/// Decodes operations in order; an operation with some malformed tasks becomes two.
pub(super) fn from_wire(operations: Vec<WireOperation>) -> Result<Vec<Operation>, Invalid> {
    let mut all = Vec::with_capacity(operations.len());
    for operation in operations {
        let id = operation.id.as_ref().map(|id| OperationId::from(id.value.clone()));
        id.iter().try_for_each(|id| limits::check_operation_id(id.as_str()))?;
        let kind = operation.r#type.and_then(|n| operation::Type::try_from(n).ok()).unwrap_or_default();
        match kind {
            operation::Type::Launch => {
                let tasks = operation.launch.map(|launch| launch.task_infos).unwrap_or_default();
                launch(id.is_some(), tasks, &mut all);
            }
            operation::Type::LaunchGroup => {
                all.extend(operation.launch_group.map(|group| launch_group(id.is_some(), group)));
            }
            operation::Type::Reserve
            | operation::Type::Unreserve
            | operation::Type::Create
            | operation::Type::Destroy => all.extend(convert(id, operation)),
            // Only an operation with an id has an update that tells its end. Mesos ignores unknown types.
            other if id.is_none() && other != operation::Type::Unknown => {
                return Err(Invalid::new(format!(
                    "{} operations are not supported by this version; no operation of this call was carried out",
                    other.as_str_name()
                )));
            }
            other => all.push(Operation::Unsupported { id, kind: other.as_str_name() }),
        }
    }
    Ok(all)
}

/// RESERVE, UNRESERVE, CREATE or DESTROY.
fn convert(id: Option<OperationId>, from: WireOperation) -> Option<Operation> {
    // Only operators have this way to change a reservation.
    let has_source = from.reserve.as_ref().is_some_and(|reserve| !reserve.source.is_empty());
    let missing = missing_part(&from);
    let (kind, resources) = crate::operation::parts(from)?;
    if let Some(why) = missing {
        return Some(Operation::Invalid { id, why });
    }
    let parsed = match kind {
        ConversionKind::Reserve if has_source => {
            Err(Invalid::new("Reservation updates are not yet implemented for the scheduler API."))
        }
        _ => resources::to_convert_from_wire(resources),
    };
    Some(match parsed {
        Ok(resources) => Operation::Convert { id, kind, resources },
        Err(Invalid(why)) => Operation::Invalid { id, why: format!("Invalid resources: {why}") },
    })
}

/// Mesos' text for an operation that does not say of what.
fn missing_part(from: &WireOperation) -> Option<String> {
    let (article, part, is_set) = match from.r#type() {
        operation::Type::Reserve => ("A", "reserve", from.reserve.is_some()),
        operation::Type::Unreserve => ("An", "unreserve", from.unreserve.is_some()),
        operation::Type::Create => ("A", "create", from.create.is_some()),
        operation::Type::Destroy => ("A", "destroy", from.destroy.is_some()),
        _ => return None,
    };
    let name = part.to_uppercase();
    (!is_set)
        .then(|| format!("{article} {name} offer operation must have the Offer.Operation.{part} field set."))
}

fn launch(with_id: bool, infos: Vec<v1::TaskInfo>, all: &mut Vec<Operation>) {
    let valid = validate_resources(&infos).and_then(|()| without_id("LAUNCH", with_id));
    if let Err(Invalid(why)) = valid {
        return all.push(Operation::Malformed { tasks: refuse_all(&infos, &why), grouped: false });
    }
    let (mut tasks, mut malformed) = (Vec::with_capacity(infos.len()), Vec::new());
    for mut info in infos {
        complete_health_check(&mut info);
        let name = name(&info);
        let checked = limits::check_task(&info)
            .and_then(|()| check_launched(&info))
            .and_then(|()| Ok(supported::check_task(&info)?));
        match checked.and_then(|()| task::info_from_wire(info)) {
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
    let operation::LaunchGroup { executor, task_group } = group;
    let infos = task_group.tasks;
    let checked = resources::validate(&executor.resources)
        .and_then(|()| validate_resources(&infos))
        .and_then(|()| without_id("LAUNCH_GROUP", with_id))
        .and_then(|()| infos.iter().try_for_each(limits::check_task))
        .and_then(|()| check_group(&executor, &infos))
        .and_then(|()| Ok(supported::check_group(&executor, &infos)?));
    let names = refuse_all(&infos, "");
    let parsed = checked.and_then(|()| {
        let executor = executor::from_wire(executor)?;
        let tasks = infos.into_iter().map(task::info_from_wire).collect::<Result<Vec<TaskInfo>, _>>()?;
        Ok(Operation::LaunchGroup { executor, tasks })
    });
    parsed.unwrap_or_else(|Invalid(why)| {
        let why = text::cut(why);
        let tasks = names.into_iter().map(|name| MalformedTask { why: why.clone(), ..name }).collect();
        Operation::Malformed { tasks, grouped: true }
    })
}

fn validate_resources(tasks: &[v1::TaskInfo]) -> Result<(), Invalid> {
    tasks.iter().try_for_each(|task| {
        resources::validate(&task.resources)?;
        resources::validate(task.executor.iter().flat_map(|executor| &executor.resources))
    })
}

fn refuse_all(infos: &[v1::TaskInfo], why: &str) -> Vec<MalformedTask> {
    let why = text::cut(why.to_owned());
    infos.iter().map(|info| MalformedTask { why: why.clone(), ..name(info) }).collect()
}

/// The fields of a refusal, without the reason.
fn name(info: &v1::TaskInfo) -> MalformedTask {
    MalformedTask {
        task_id: info.task_id.value.as_str().into(),
        agent_id: info.agent_id.value.as_str().into(),
        why: String::new(),
    }
}

fn without_id(kind: &str, with_id: bool) -> Result<(), Invalid> {
    match with_id {
        true => Err(Invalid::new(format!("The `id` field cannot be set on {kind} operations"))),
        false => Ok(()),
    }
}
