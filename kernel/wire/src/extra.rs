//! The `extra` fields of values: encoded fields of wire messages that the kernel does not interpret.
//!
//! Conversion from wire messages always yields valid ones. Values that schedulers in this process construct are validated
//! here before the master uses them, so that no later conversion meets bytes that do not decode.

use bytes::Bytes;
use kernel_model::{
    executor::{CommandInfo, ExecutorInfo},
    framework::FrameworkInfo,
    resources::Resources,
    scheduler::{Call, MalformedTask, Operation},
    task::TaskInfo,
};
use prost::Message;

use crate::{
    Invalid,
    v1::{self, resource::disk_info::Source},
};

/// Decodes an `extra` field; empty bytes are an empty message.
pub fn decode<M: Message + Default>(extra: &Bytes) -> Result<M, Invalid> {
    if extra.is_empty() {
        return Ok(M::default());
    }
    M::decode(extra.clone()).map_err(|error| Invalid::new(format!("does not decode: {error}")))
}

fn check<M: Message + Default>(what: &str, extra: &Bytes) -> Result<(), Invalid> {
    decode::<M>(extra).map(drop).map_err(|Invalid(why)| Invalid::new(format!("'{what}' {why}")))
}

/// Validates a framework.
pub fn check_framework(framework: &FrameworkInfo) -> Result<(), Invalid> {
    check::<v1::FrameworkInfo>("FrameworkInfo", &framework.extra)
}

/// Validates a task with its executor and commands.
pub fn check_task(task: &TaskInfo) -> Result<(), Invalid> {
    check::<v1::TaskInfo>("TaskInfo", &task.extra)?;
    task.command.as_ref().map_or(Ok(()), check_command)?;
    task.executor.as_deref().map_or(Ok(()), check_executor)?;
    check_resources(&task.resources)
}

/// Validates an executor with its command.
pub fn check_executor(executor: &ExecutorInfo) -> Result<(), Invalid> {
    check::<v1::ExecutorInfo>("ExecutorInfo", &executor.extra)?;
    executor.command.as_ref().map_or(Ok(()), check_command)?;
    check_resources(&executor.resources)
}

fn check_command(command: &CommandInfo) -> Result<(), Invalid> {
    check::<v1::CommandInfo>("CommandInfo", &command.extra)
}

fn check_resources(resources: &Resources) -> Result<(), Invalid> {
    let disks = resources.iter().filter_map(|resource| resource.disk.as_ref());
    let mut sources = disks.filter_map(|disk| disk.source.as_ref());
    sources.try_for_each(|source| check::<Source>("DiskInfo.Source", &source.definition))
}

/// Validates a call. Tasks that do not decode become [`Operation::Malformed`], which the master answers with TASK_ERROR.
pub fn check_call(call: &mut Call) -> Result<(), Invalid> {
    match call {
        Call::Accept { operations, .. } => {
            let mut malformed = Vec::new();
            for operation in operations.iter_mut() {
                check_operation(operation, &mut malformed);
            }
            if !malformed.is_empty() {
                operations.push(Operation::Malformed { tasks: malformed, grouped: false });
            }
            Ok(())
        }
        Call::UpdateFramework { framework, .. } => check_framework(framework),
        _ => Ok(()),
    }
}

fn check_operation(operation: &mut Operation, malformed: &mut Vec<MalformedTask>) {
    match operation {
        Operation::Launch { tasks } => tasks.retain(|task| match check_task(task) {
            Ok(()) => true,
            Err(Invalid(why)) => {
                malformed.push(refusal(task, why));
                false
            }
        }),
        Operation::LaunchGroup { executor, tasks } => {
            let checked = check_executor(executor).and_then(|()| tasks.iter().try_for_each(check_task));
            if let Err(Invalid(why)) = checked {
                let tasks = tasks.iter().map(|task| refusal(task, why.clone())).collect();
                *operation = Operation::Malformed { tasks, grouped: true };
            }
        }
        Operation::Convert { .. }
        | Operation::Malformed { .. }
        | Operation::Invalid { .. }
        | Operation::Unsupported { .. } => {}
    }
}

fn refusal(task: &TaskInfo, why: String) -> MalformedTask {
    MalformedTask { task_id: task.task_id.clone(), agent_id: task.agent_id.clone(), why }
}
