//! Values as stored in checkpoints and registries. Every later version must be able to read what is written today.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::AgentInfo,
    executor::{ExecutorInfo, ExecutorKind},
    framework::FrameworkInfo,
    resources::Resources,
    task::{Task, TaskInfo, TaskStatus},
    time::Time,
};
use prost::Message;

use crate::{
    Invalid, executor, framework, link_proto as link, offer, operation,
    resources::{self, Format},
    task,
};

fn parse<M: Message + Default>(bytes: &Bytes) -> Result<M, Invalid> {
    M::decode(bytes.clone()).map_err(|e| Invalid::new(e.to_string()))
}

/// Encodes a framework.
pub fn encode_framework(from: &FrameworkInfo) -> Bytes {
    framework::to_wire(from).encode_to_vec().into()
}

/// Decodes a framework.
pub fn decode_framework(bytes: &Bytes) -> Result<FrameworkInfo, Invalid> {
    framework::from_wire(parse(bytes)?)
}

/// Encodes an executor, with its kind.
pub fn encode_executor(from: &ExecutorInfo) -> Bytes {
    executor_to_record(from).encode_to_vec().into()
}

/// Decodes an executor, with its kind.
pub fn decode_executor(bytes: &Bytes) -> Result<ExecutorInfo, Invalid> {
    executor_from_record(parse(bytes)?)
}

/// Encodes a task to launch.
pub fn encode_task_info(from: &TaskInfo) -> Bytes {
    task::info_to_wire(from, Format::FULL).encode_to_vec().into()
}

/// Decodes a task to launch.
pub fn decode_task_info(bytes: &Bytes) -> Result<TaskInfo, Invalid> {
    task::info_from_wire(parse(bytes)?)
}

/// Decodes resources.
pub fn decode_resources(bytes: &Bytes) -> Result<Resources, Invalid> {
    resources::decode(bytes)
}

/// Encodes a status.
pub fn encode_status(from: &TaskStatus) -> Bytes {
    task::status_to_wire(from).encode_to_vec().into()
}

/// Decodes a status.
pub fn decode_status(bytes: &Bytes) -> Result<TaskStatus, Invalid> {
    task::status_from_wire(parse(bytes)?)
}

/// Encodes an agent with the address of its HTTP server.
pub fn agent_to_record(from: &AgentInfo) -> link::Agent {
    link::Agent {
        info: offer::agent_to_wire(from, Format::FULL),
        ip: Some(from.ip.clone()),
        operations: Some(operation::applied_to_wire(&from.operations)),
        runs_images: from.runs_images.then_some(true),
    }
}

/// Decodes an agent with the address of its HTTP server.
pub fn agent_from_record(from: link::Agent) -> Result<AgentInfo, Invalid> {
    let ip = from.ip.ok_or_else(|| Invalid::new("an agent without an address"))?;
    let operations = operation::applied_from_wire(from.operations)?;
    let runs_images = from.runs_images.unwrap_or(false);
    Ok(AgentInfo { operations, runs_images, ..offer::agent_from_wire(from.info, ip)? })
}

pub(crate) fn executor_to_record(from: &ExecutorInfo) -> link::Executor {
    link::Executor {
        info: executor::to_wire(from, Format::FULL),
        command: (from.kind == ExecutorKind::Command).then_some(true),
    }
}

pub(crate) fn executor_from_record(from: link::Executor) -> Result<ExecutorInfo, Invalid> {
    let info = executor::from_wire(from.info)?;
    Ok(match from.command {
        Some(true) => ExecutorInfo { kind: ExecutorKind::Command, ..info },
        _ => info,
    })
}

pub(crate) fn task_to_record(from: &Task) -> link::Task {
    link::Task {
        framework_id: framework::id_to_wire(&from.framework_id),
        info: task::info_to_wire(&from.info, Format::FULL),
        executor_id: from.executor_id.as_ref().map(executor::executor_id_to_wire),
        state: Some(from.state as i32),
        unacknowledged_state: from.unacknowledged.as_ref().map(|(state, _)| *state as i32),
        unacknowledged_uuid: from.unacknowledged.as_ref().and_then(|(_, uuid)| *uuid).map(task::uuid_to_wire),
        statuses: from.statuses.iter().map(|status| task::status_to_wire(status)).collect(),
        launched_at: Some(from.launched_at.0),
    }
}

pub(crate) fn task_from_record(from: link::Task) -> Result<Task, Invalid> {
    let state = |number| task::state_from_number(number).ok_or_else(|| Invalid::new("unknown task state"));
    let missing = |field: &str| Invalid::new(format!("a task without {field}"));
    let uuid = from.unacknowledged_uuid.as_ref();
    let uuid = uuid.map(|bytes| task::uuid_from_wire(bytes).ok_or_else(|| Invalid::new("Not a valid UUID")));
    let (uuid, unacknowledged) = (uuid.transpose()?, from.unacknowledged_state.map(state).transpose()?);
    Ok(Task {
        framework_id: from.framework_id.value.into(),
        info: task::info_from_wire(from.info)?.into(),
        executor_id: from.executor_id.map(|id| id.value.into()),
        state: state(from.state.ok_or_else(|| missing("a state"))?)?,
        unacknowledged: unacknowledged.map(|state| (state, uuid)),
        statuses: from
            .statuses
            .into_iter()
            .map(|status| task::status_from_wire(status).map(Arc::new))
            .collect::<Result<_, _>>()?,
        launched_at: Time(from.launched_at.ok_or_else(|| missing("a launch time"))?),
    })
}
