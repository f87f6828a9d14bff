//! Frames between agent and master: `ToMaster` and `ToAgent` as bytes with a u32 length prefix.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kernel_model::{
    agent::{Launch, ToAgent, ToMaster},
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    operation::{OfferOperation, OperationUuid},
    resources::VolumeId,
    roles::Role,
};
use prost::Message;

use crate::{
    Invalid, executor,
    executor::{agent_id_to_wire, executor_id_to_wire},
    framework,
    framework::id_to_wire,
    link_proto::{self as proto, to_agent, to_master},
    operation, record,
    resources::{self, Format},
    task, v1,
};

/// The longest frame. A re-registration of an agent with thousands of tasks stays well below.
pub const FRAME_MAX: usize = 64 << 20;

/// Adds the length prefix.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(4 + message.len());
    framed.put_u32(u32::try_from(message.len()).expect("invariant: frames are below FRAME_MAX"));
    framed.put_slice(message);
    framed.freeze()
}

/// Takes the next complete frame from a buffer; `None` while it is incomplete.
pub fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, Invalid> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > FRAME_MAX {
        return Err(Invalid::new(format!("a frame of {length} bytes exceeds the limit of {FRAME_MAX}")));
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Encodes a message of an agent.
pub fn encode_to_master(from: &ToMaster) -> Bytes {
    use to_master::Kind;
    let kind = match from {
        ToMaster::Register { info } => Kind::Register(record::agent_to_record(info)),
        ToMaster::Reregister { info, frameworks, executors, tasks, operations } => {
            Kind::Reregister(to_master::Reregister {
                agent: record::agent_to_record(info),
                frameworks: frameworks.iter().map(|framework| framework::to_wire(framework)).collect(),
                executors: executors.iter().map(|executor| record::executor_to_record(executor)).collect(),
                tasks: tasks.iter().map(record::task_to_record).collect(),
                operations: operations.iter().map(operation_to_wire).collect(),
            })
        }
        ToMaster::Update { framework_id, status, latest_state } => Kind::Update(to_master::Update {
            framework_id: id_to_wire(framework_id),
            status: task::status_to_wire(status),
            latest_state: Some(*latest_state as i32),
        }),
        ToMaster::ExitedExecutor { framework_id, executor_id, status } => {
            Kind::ExitedExecutor(to_master::ExitedExecutor {
                framework_id: id_to_wire(framework_id),
                executor_id: executor_id_to_wire(executor_id),
                status: Some(*status),
            })
        }
        ToMaster::Message { framework_id, executor_id, data } => {
            Kind::Message(message_to_wire(framework_id, executor_id, data))
        }
        ToMaster::ResizeTask { framework_id, task_id, amounts } => Kind::ResizeTask(to_master::ResizeTask {
            framework_id: id_to_wire(framework_id),
            task_id: task::task_id_to_wire(task_id),
            amounts: resources::to_wire(amounts, Format::FULL),
        }),
        ToMaster::OperationStatus { operation } => Kind::OperationStatus(operation_to_wire(operation)),
        ToMaster::ContainerRuntime { failure } => {
            Kind::ContainerRuntime(to_master::ContainerRuntime { failure: failure.clone() })
        }
        ToMaster::Oversubscribed { resources } => {
            let resources = resources::to_wire(resources, Format::FULL);
            Kind::Oversubscribed(proto::Resources { resources })
        }
        ToMaster::VolumesFailed { volumes } => Kind::VolumesFailed(to_master::VolumesFailed {
            volumes: volumes
                .iter()
                .map(|id| to_master::volumes_failed::Volume {
                    role: id.role.as_str().to_owned(),
                    id: id.id.to_string(),
                })
                .collect(),
        }),
        ToMaster::Pong => Kind::Pong(to_master::Empty {}),
        ToMaster::Stopping => Kind::Stopping(to_master::Empty {}),
        ToMaster::Unregister => Kind::Unregister(to_master::Empty {}),
    };
    proto::ToMaster { kind: Some(kind) }.encode_to_vec().into()
}

/// Decodes a message of an agent; `None` for an unknown type.
pub fn decode_to_master(bytes: Bytes) -> Result<Option<ToMaster>, Invalid> {
    use to_master::Kind;
    let message = proto::ToMaster::decode(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    let Some(kind) = message.kind else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Register(agent) => ToMaster::Register { info: record::agent_from_record(agent)?.into() },
        Kind::Reregister(all) => ToMaster::Reregister {
            info: record::agent_from_record(all.agent)?.into(),
            frameworks: all
                .frameworks
                .into_iter()
                .map(|framework| framework::from_wire(framework).map(Arc::new))
                .collect::<Result<_, _>>()?,
            executors: all
                .executors
                .into_iter()
                .map(|executor| record::executor_from_record(executor).map(Arc::new))
                .collect::<Result<_, _>>()?,
            tasks: all.tasks.into_iter().map(record::task_from_record).collect::<Result<_, _>>()?,
            operations: operations_from_wire(all.operations)?,
        },
        Kind::Update(update) => {
            let status = task::status_from_wire(update.status)?;
            ToMaster::Update {
                framework_id: update.framework_id.value.into(),
                latest_state: update.latest_state.and_then(task::state_from_number).unwrap_or(status.state),
                status: status.into(),
            }
        }
        Kind::ExitedExecutor(exited) => ToMaster::ExitedExecutor {
            framework_id: exited.framework_id.value.into(),
            executor_id: exited.executor_id.value.into(),
            status: exited.status.unwrap_or(0),
        },
        Kind::Message(message) => {
            let (framework_id, executor_id, data) = message_from_wire(message);
            ToMaster::Message { framework_id, executor_id, data }
        }
        Kind::ResizeTask(resize) => ToMaster::ResizeTask {
            framework_id: resize.framework_id.value.into(),
            task_id: resize.task_id.value.into(),
            amounts: resources::from_wire(resize.amounts)?,
        },
        Kind::OperationStatus(status) => {
            ToMaster::OperationStatus { operation: operation::from_wire(status)?.into() }
        }
        Kind::ContainerRuntime(runtime) => ToMaster::ContainerRuntime { failure: runtime.failure },
        Kind::Oversubscribed(all) => {
            ToMaster::Oversubscribed { resources: resources::from_wire(all.resources)? }
        }
        Kind::VolumesFailed(failed) => ToMaster::VolumesFailed {
            volumes: failed
                .volumes
                .into_iter()
                .map(|volume| {
                    let role = Role::parse(&volume.role).map_err(|error| Invalid::new(error.to_string()))?;
                    Ok(VolumeId { role, id: volume.id })
                })
                .collect::<Result<_, Invalid>>()?,
        },
        Kind::Pong(_) => ToMaster::Pong,
        Kind::Stopping(_) => ToMaster::Stopping,
        Kind::Unregister(_) => ToMaster::Unregister,
    }))
}

/// Encodes a message of the master.
pub fn encode_to_agent(from: &ToAgent) -> Bytes {
    use to_agent::Kind;
    let kind = match from {
        ToAgent::Registered { agent_id, ping_interval, ping_timeouts } => {
            Kind::Registered(to_agent::Registered {
                agent_id: agent_id_to_wire(agent_id),
                ping_interval_ns: Some(nanoseconds(*ping_interval)),
                ping_timeouts: Some(*ping_timeouts),
            })
        }
        ToAgent::Reregistered { agent_id, ping_interval, ping_timeouts, unknown_here } => {
            Kind::Reregistered(to_agent::Reregistered {
                agent_id: agent_id_to_wire(agent_id),
                ping_interval_ns: Some(nanoseconds(*ping_interval)),
                ping_timeouts: Some(*ping_timeouts),
                unknown_here: unknown_here.iter().map(|(f, t)| key_to_wire(f, t)).collect(),
            })
        }
        ToAgent::RunTask { framework, executor, launch, launch_executor } => {
            Kind::RunTask(to_agent::RunTask {
                framework: framework::to_wire(framework),
                executor: executor.as_deref().map(record::executor_to_record),
                tasks: launch.tasks().iter().map(|t| task::info_to_wire(t, Format::FULL)).collect(),
                group: Some(matches!(launch, Launch::Group(_))),
                launch_executor: Some(*launch_executor),
            })
        }
        ToAgent::KillTask { framework_id, task_id, grace } => Kind::KillTask(to_agent::KillTask {
            task: key_to_wire(framework_id, task_id),
            grace: grace.map(executor::duration_to_wire),
        }),
        ToAgent::Acknowledge { framework_id, task_id, uuid } => Kind::Acknowledge(to_agent::Acknowledge {
            task: key_to_wire(framework_id, task_id),
            uuid: task::uuid_to_wire(*uuid),
        }),
        ToAgent::UpdateFramework { framework } => Kind::UpdateFramework(framework::to_wire(framework)),
        ToAgent::ShutdownFramework { framework_id } => Kind::ShutdownFramework(id_to_wire(framework_id)),
        ToAgent::ShutdownExecutor { framework_id, executor_id } => {
            Kind::ShutdownExecutor(to_agent::ShutdownExecutor {
                framework_id: id_to_wire(framework_id),
                executor_id: executor_id_to_wire(executor_id),
            })
        }
        ToAgent::Message { framework_id, executor_id, data } => {
            Kind::Message(message_to_wire(framework_id, executor_id, data))
        }
        ToAgent::TaskResized { framework_id, task_id, resources } => {
            Kind::TaskResized(to_agent::TaskResized {
                task: key_to_wire(framework_id, task_id),
                resources: resources::to_wire(resources, Format::FULL),
            })
        }
        ToAgent::CheckpointResources { resources, applied, operations } => {
            Kind::CheckpointResources(to_agent::CheckpointResources {
                checkpoint: operation::checkpoint_to_wire(resources, applied),
                operations: operations.iter().map(operation_to_wire).collect(),
            })
        }
        ToAgent::AcknowledgeOperation { operation, status } => {
            let operation = Bytes::copy_from_slice(&operation.0);
            let status = task::uuid_to_wire(*status);
            Kind::AcknowledgeOperation(to_agent::AcknowledgeOperation { operation, status })
        }
        ToAgent::Ping => Kind::Ping(to_agent::Empty {}),
        ToAgent::Shutdown { message } => {
            Kind::Shutdown(to_agent::Shutdown { message: Some(message.clone()) })
        }
    };
    proto::ToAgent { kind: Some(kind) }.encode_to_vec().into()
}

/// Decodes a message of the master; `None` for an unknown type.
pub fn decode_to_agent(bytes: Bytes) -> Result<Option<ToAgent>, Invalid> {
    use to_agent::Kind;
    let message = proto::ToAgent::decode(bytes).map_err(|e| Invalid::new(e.to_string()))?;
    let Some(kind) = message.kind else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Registered(registered) => ToAgent::Registered {
            agent_id: AgentId::from(registered.agent_id.value),
            ping_interval: Duration::from_nanos(registered.ping_interval_ns.unwrap_or(0)),
            ping_timeouts: registered.ping_timeouts.unwrap_or(0),
        },
        Kind::Reregistered(registered) => ToAgent::Reregistered {
            agent_id: AgentId::from(registered.agent_id.value),
            ping_interval: Duration::from_nanos(registered.ping_interval_ns.unwrap_or(0)),
            ping_timeouts: registered.ping_timeouts.unwrap_or(0),
            unknown_here: registered.unknown_here.into_iter().map(key_from_wire).collect(),
        },
        Kind::RunTask(run) => run_task_from_wire(run)?,
        Kind::KillTask(kill) => {
            let (framework_id, task_id) = key_from_wire(kill.task);
            ToAgent::KillTask {
                framework_id,
                task_id,
                grace: executor::duration_from_wire(kill.grace, "'grace'")?,
            }
        }
        Kind::Acknowledge(acknowledge) => {
            let (framework_id, task_id) = key_from_wire(acknowledge.task);
            let uuid =
                task::uuid_from_wire(&acknowledge.uuid).ok_or_else(|| Invalid::new("Not a valid UUID"))?;
            ToAgent::Acknowledge { framework_id, task_id, uuid }
        }
        Kind::UpdateFramework(info) => {
            ToAgent::UpdateFramework { framework: framework::from_wire(info)?.into() }
        }
        Kind::ShutdownFramework(id) => ToAgent::ShutdownFramework { framework_id: id.value.into() },
        Kind::ShutdownExecutor(ids) => ToAgent::ShutdownExecutor {
            framework_id: ids.framework_id.value.into(),
            executor_id: ids.executor_id.value.into(),
        },
        Kind::Message(message) => {
            let (framework_id, executor_id, data) = message_from_wire(message);
            ToAgent::Message { framework_id, executor_id, data }
        }
        Kind::TaskResized(resized) => {
            let (framework_id, task_id) = key_from_wire(resized.task);
            let resources = resources::from_wire(resized.resources)?;
            ToAgent::TaskResized { framework_id, task_id, resources }
        }
        Kind::CheckpointResources(message) => {
            let (resources, applied) = operation::checkpoint_from_wire(message.checkpoint)?;
            let operations = operations_from_wire(message.operations)?;
            ToAgent::CheckpointResources { resources, applied, operations }
        }
        Kind::AcknowledgeOperation(ids) => {
            let invalid = || Invalid::new("Not a valid UUID");
            let operation = ids.operation.as_ref().try_into().map_err(|_| invalid())?;
            let status = task::uuid_from_wire(&ids.status).ok_or_else(invalid)?;
            ToAgent::AcknowledgeOperation { operation: OperationUuid(operation), status }
        }
        Kind::Ping(_) => ToAgent::Ping,
        Kind::Shutdown(shutdown) => ToAgent::Shutdown { message: shutdown.message.unwrap_or_default() },
    }))
}

fn run_task_from_wire(run: to_agent::RunTask) -> Result<ToAgent, Invalid> {
    let mut tasks: Vec<_> = run.tasks.into_iter().map(task::info_from_wire).collect::<Result<_, _>>()?;
    let launch = match (run.group.unwrap_or(false), tasks.len()) {
        (false, 1) => Launch::Task(Box::new(tasks.remove(0))),
        (true, _) => Launch::Group(tasks),
        (false, count) => return Err(Invalid::new(format!("a launch of one task names {count}"))),
    };
    Ok(ToAgent::RunTask {
        framework: framework::from_wire(run.framework)?.into(),
        executor: run.executor.map(record::executor_from_record).transpose()?.map(Arc::new),
        launch,
        launch_executor: run.launch_executor.unwrap_or(true),
    })
}

fn operation_to_wire(from: &OfferOperation) -> v1::Operation {
    operation::to_wire(from, None, Format::FULL)
}

fn operations_from_wire(all: Vec<v1::Operation>) -> Result<Vec<OfferOperation>, Invalid> {
    all.into_iter().map(operation::from_wire).collect()
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

fn key_to_wire(framework_id: &FrameworkId, task_id: &TaskId) -> to_agent::TaskKey {
    to_agent::TaskKey { framework_id: id_to_wire(framework_id), task_id: task::task_id_to_wire(task_id) }
}

fn key_from_wire(key: to_agent::TaskKey) -> (FrameworkId, TaskId) {
    (key.framework_id.value.into(), key.task_id.value.into())
}

fn message_to_wire(
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
    data: &Bytes,
) -> proto::FrameworkMessage {
    proto::FrameworkMessage {
        framework_id: id_to_wire(framework_id),
        executor_id: executor_id_to_wire(executor_id),
        data: Some(data.clone()),
    }
}

fn message_from_wire(message: proto::FrameworkMessage) -> (FrameworkId, ExecutorId, Bytes) {
    (message.framework_id.value.into(), message.executor_id.value.into(), message.data.unwrap_or_default())
}
