//! Converts executor calls and events from and to `mesos.v1.executor.Call` and `Event`, in both directions: agents
//! serve the API, our executors call it.

use kernel_model::{
    executor::{Call, Event},
    ids::{ContainerId, ExecutorId, FrameworkId},
};

use crate::{
    Invalid, executor,
    executor::executor_id_to_wire,
    framework,
    framework::id_to_wire,
    offer,
    resources::{self, Format},
    task,
    v1::{
        self,
        executor::{Call as WireCall, Event as WireEvent, call, event},
    },
};

/// A call with its executor.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ParsedExecutorCall {
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    pub call: Call,
}

/// Decodes and validates a call. The error is the reason after "Failed to validate Executor::Call: ". `None` for an
/// unknown type (501).
pub fn call_from_wire(from: WireCall) -> Result<Option<ParsedExecutorCall>, Invalid> {
    let number = from.r#type.ok_or_else(|| Invalid::new("Expecting 'type' to be present"))?;
    let executor_id = from.executor_id.value;
    let call = match call::Type::try_from(number) {
        Ok(call::Type::Subscribe) => {
            let subscribe = present(from.subscribe, "subscribe")?;
            let updates = subscribe.unacknowledged_updates.into_iter();
            Call::Subscribe {
                unacknowledged_tasks: subscribe
                    .unacknowledged_tasks
                    .into_iter()
                    .map(|t| t.task_id.value.into())
                    .collect(),
                unacknowledged_updates: updates
                    .map(|u| task::status_from_wire(u.status))
                    .collect::<Result<_, _>>()?,
            }
        }
        Ok(call::Type::Update) => {
            let status = present(from.update, "update")?.status;
            check_update(&status, &executor_id, &from.framework_id.value)?;
            Call::Update { status: task::status_from_wire(status)?.into() }
        }
        Ok(call::Type::Message) => Call::Message { data: present(from.message, "message")?.data },
        Ok(call::Type::Heartbeat) => Call::Heartbeat,
        Ok(call::Type::ResizeTask) => {
            let resize = present(from.resize_task, "resize_task")?;
            Call::ResizeTask {
                task_id: resize.task_id.value.into(),
                amounts: resources::from_wire(resize.amounts)?,
            }
        }
        Ok(call::Type::Unknown) | Err(_) => return Ok(None),
    };
    Ok(Some(ParsedExecutorCall {
        framework_id: from.framework_id.value.into(),
        executor_id: executor_id.into(),
        call,
    }))
}

fn check_update(status: &v1::TaskStatus, executor_id: &str, framework_id: &str) -> Result<(), Invalid> {
    match &status.uuid {
        None => return Err(Invalid::new("Expecting 'uuid' to be present")),
        Some(uuid) if uuid.len() != 16 => return Err(Invalid::new("Not a valid UUID")),
        Some(_) => {}
    }
    if let Some(other) = status.executor_id.as_ref().filter(|id| id.value != executor_id) {
        return Err(Invalid::new(format!(
            "ExecutorID in Call: {executor_id} does not match ExecutorID in TaskStatus: {}",
            other.value
        )));
    }
    let who = format!("from executor {executor_id} of framework {framework_id}");
    if status.source != Some(v1::task_status::Source::Executor as i32) {
        return Err(Invalid::new(format!(
            "Received Call {who} with invalid source, expecting 'SOURCE_EXECUTOR'"
        )));
    }
    if status.state == v1::TaskState::TaskStaging as i32 {
        return Err(Invalid::new(format!("Received TASK_STAGING {who} which is not allowed")));
    }
    status.check_status.as_ref().map_or(Ok(()), check_check_status)
}

fn check_check_status(check: &v1::CheckStatusInfo) -> Result<(), Invalid> {
    use v1::check_info::Type;
    if check.r#type.is_none() {
        return Err(Invalid::new("CheckStatusInfo must specify 'type'"));
    }
    let (is_set, part, kind) = match check.r#type() {
        Type::Command => (check.command.is_some(), "command", "COMMAND"),
        Type::Http => (check.http.is_some(), "http", "HTTP"),
        Type::Tcp => (check.tcp.is_some(), "tcp", "TCP"),
        Type::Unknown => return Err(Invalid::new("'UNKNOWN' is not a valid check's status type")),
    };
    match is_set {
        true => Ok(()),
        false => Err(Invalid::new(format!("Expecting '{part}' to be set for {kind} check's status"))),
    }
}

/// Encodes a call.
pub fn call_to_wire(from: &ParsedExecutorCall) -> WireCall {
    let mut to = WireCall {
        executor_id: executor_id_to_wire(&from.executor_id),
        framework_id: id_to_wire(&from.framework_id),
        ..Default::default()
    };
    let kind = match &from.call {
        Call::Subscribe { unacknowledged_tasks, unacknowledged_updates } => {
            let bare = |id| v1::TaskInfo { task_id: task::task_id_to_wire(id), ..Default::default() };
            to.subscribe = Some(call::Subscribe {
                unacknowledged_tasks: unacknowledged_tasks.iter().map(bare).collect(),
                unacknowledged_updates: unacknowledged_updates
                    .iter()
                    .map(|s| call::Update { status: task::status_to_wire(s) })
                    .collect(),
            });
            call::Type::Subscribe
        }
        Call::Update { status } => {
            to.update = Some(call::Update { status: task::status_to_wire(status) });
            call::Type::Update
        }
        Call::Message { data } => {
            to.message = Some(call::Message { data: data.clone() });
            call::Type::Message
        }
        Call::Heartbeat => call::Type::Heartbeat,
        Call::ResizeTask { task_id, amounts } => {
            to.resize_task = Some(call::ResizeTask {
                task_id: task::task_id_to_wire(task_id),
                amounts: resources::to_wire(amounts, Format::FULL),
            });
            call::Type::ResizeTask
        }
    };
    to.r#type = Some(kind as i32);
    to
}

/// Encodes an event, with resources in the framework's format.
pub fn event_to_wire(from: &Event, format: Format) -> WireEvent {
    let mut to = WireEvent::default();
    let kind = match from {
        Event::Subscribed { executor, framework, agent, container_id } => {
            to.subscribed = Some(event::Subscribed {
                executor_info: executor::to_wire(executor, format),
                framework_info: framework::to_wire(framework),
                agent_info: offer::agent_to_wire(agent, format),
                container_id: Some(v1::ContainerId { value: container_id.as_str().to_owned(), parent: None }),
            });
            event::Type::Subscribed
        }
        Event::Launch { task } => {
            to.launch = Some(event::Launch { task: task::info_to_wire(task, format) });
            event::Type::Launch
        }
        Event::LaunchGroup { tasks } => {
            let tasks = tasks.iter().map(|t| task::info_to_wire(t, format)).collect();
            to.launch_group = Some(event::LaunchGroup { task_group: v1::TaskGroupInfo { tasks } });
            event::Type::LaunchGroup
        }
        Event::Kill { task_id, grace } => {
            to.kill = Some(event::Kill {
                task_id: task::task_id_to_wire(task_id),
                kill_policy: grace.map(task::grace_to_wire),
            });
            event::Type::Kill
        }
        Event::Acknowledged { task_id, uuid } => {
            to.acknowledged = Some(event::Acknowledged {
                task_id: task::task_id_to_wire(task_id),
                uuid: task::uuid_to_wire(*uuid),
            });
            event::Type::Acknowledged
        }
        Event::Message { data } => {
            to.message = Some(event::Message { data: data.clone() });
            event::Type::Message
        }
        Event::Error { message } => {
            to.error = Some(event::Error { message: message.clone() });
            event::Type::Error
        }
        Event::Shutdown => event::Type::Shutdown,
        Event::Heartbeat => event::Type::Heartbeat,
        Event::Evict { task_id, message } => {
            let (task_id, message) = (task::task_id_to_wire(task_id), Some(message.clone()));
            to.evict = Some(event::Evict { task_id, message });
            event::Type::Evict
        }
        Event::TaskResized { task_id, resources } => {
            to.task_resized = Some(event::TaskResized {
                task_id: task::task_id_to_wire(task_id),
                resources: resources::to_wire(resources, format),
            });
            event::Type::TaskResized
        }
    };
    to.r#type = Some(kind as i32);
    to
}

/// Decodes an event; `None` for an unknown type.
pub fn event_from_wire(from: WireEvent) -> Result<Option<Event>, Invalid> {
    let kind = from.r#type.and_then(|n| event::Type::try_from(n).ok()).unwrap_or_default();
    Ok(Some(match kind {
        event::Type::Subscribed => {
            let subscribed = present(from.subscribed, "subscribed")?;
            Event::Subscribed {
                executor: executor::from_wire(subscribed.executor_info)?.into(),
                framework: framework::from_wire(subscribed.framework_info)?.into(),
                agent: offer::agent_from_wire(subscribed.agent_info, String::new())?.into(),
                container_id: ContainerId::from(present(subscribed.container_id, "container_id")?.value),
            }
        }
        event::Type::Launch => {
            Event::Launch { task: task::info_from_wire(present(from.launch, "launch")?.task)?.into() }
        }
        event::Type::LaunchGroup => {
            let tasks = present(from.launch_group, "launch_group")?.task_group.tasks.into_iter();
            Event::LaunchGroup { tasks: tasks.map(task::info_from_wire).collect::<Result<_, _>>()? }
        }
        event::Type::Kill => {
            let kill = present(from.kill, "kill")?;
            Event::Kill {
                task_id: kill.task_id.value.into(),
                grace: task::grace_from_wire(kill.kill_policy)?,
            }
        }
        event::Type::Acknowledged => {
            let acknowledged = present(from.acknowledged, "acknowledged")?;
            Event::Acknowledged {
                task_id: acknowledged.task_id.value.into(),
                uuid: task::uuid_from_wire(&acknowledged.uuid)
                    .ok_or_else(|| Invalid::new("Not a valid UUID"))?,
            }
        }
        event::Type::Message => Event::Message { data: present(from.message, "message")?.data },
        event::Type::Error => Event::Error { message: present(from.error, "error")?.message },
        event::Type::Shutdown => Event::Shutdown,
        event::Type::Heartbeat => Event::Heartbeat,
        event::Type::Evict => {
            let evict = present(from.evict, "evict")?;
            Event::Evict { task_id: evict.task_id.value.into(), message: evict.message.unwrap_or_default() }
        }
        event::Type::TaskResized => {
            let resized = present(from.task_resized, "task_resized")?;
            Event::TaskResized {
                task_id: resized.task_id.value.into(),
                resources: resources::from_wire(resized.resources)?,
            }
        }
        event::Type::Unknown => return Ok(None),
    }))
}

fn present<T>(part: Option<T>, name: &str) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new(format!("Expecting '{name}' to be present")))
}
