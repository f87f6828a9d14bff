//! Converts tasks and their statuses from and to `mesos.v1.TaskInfo`, `Task` and `TaskStatus`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kernel_model::{
    ids::{AgentId, ExecutorId, TaskId, UpdateId},
    task::{Reason, Source, Task, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::{
    Invalid, container, decode_extra, encode_extra,
    executor::{
        self, agent_id_to_wire, command_from_wire, command_to_wire, duration_from_wire, duration_to_wire,
        executor_id_to_wire,
    },
    framework::id_to_wire,
    labels,
    resources::{self, Format},
    v1,
};

/// Encodes a task to launch.
pub fn info_to_wire(from: &TaskInfo, format: Format) -> v1::TaskInfo {
    let mut to: v1::TaskInfo = decode_extra(&from.extra);
    to.name = from.name.clone();
    to.task_id = task_id_to_wire(&from.task_id);
    to.agent_id = agent_id_to_wire(&from.agent_id);
    to.resources = resources_to_wire(from, format);
    to.executor = from.executor.as_ref().map(|e| executor::to_wire(e, format));
    to.command = from.command.as_ref().map(command_to_wire);
    to.kill_policy = from.kill_grace.map(grace_to_wire);
    to.max_completion_time = from.max_completion_time.map(duration_to_wire);
    to.data = (!from.data.is_empty()).then(|| from.data.clone());
    to.labels = labels::to_wire(&from.labels);
    to
}

/// Decodes a task to launch.
pub fn info_from_wire(mut from: v1::TaskInfo) -> Result<TaskInfo, Invalid> {
    let (resources, zero_resources) = resources::with_zeros_from_wire(std::mem::take(&mut from.resources))?;
    // An executor interprets the containers of its tasks. One that is not supported has been refused.
    let own = from.container.as_ref().filter(|_| from.executor.is_none());
    let image = own.and_then(|own| container::image_from_wire(own).ok());
    Ok(TaskInfo {
        name: std::mem::take(&mut from.name),
        task_id: TaskId::from(std::mem::take(&mut from.task_id.value)),
        agent_id: AgentId::from(std::mem::take(&mut from.agent_id.value)),
        resources,
        zero_resources,
        executor: from.executor.take().map(executor::from_wire).transpose()?.map(Arc::new),
        command: from.command.take().map(command_from_wire),
        kill_grace: grace_from_wire(from.kill_policy.take())?,
        max_completion_time: duration_from_wire(
            from.max_completion_time.take(),
            "Task's `max_completion_time`",
        )?,
        data: from.data.take().unwrap_or_default(),
        labels: labels::from_wire(from.labels.take()),
        image: image.flatten().map(Arc::new),
        extra: encode_extra(&from),
    })
}

fn resources_to_wire(from: &TaskInfo, format: Format) -> Vec<v1::Resource> {
    let all = from.resources.iter().chain(&from.zero_resources);
    all.map(|resource| resources::resource_to_wire(resource, format)).collect()
}

/// Encodes a launched task.
pub fn to_wire(from: &Task, format: Format) -> v1::Task {
    let extra: v1::TaskInfo = decode_extra(&from.info.extra);
    let user = from.info.command.as_ref().or(from.info.executor.as_ref().and_then(|e| e.command.as_ref()));
    v1::Task {
        name: from.info.name.clone(),
        task_id: task_id_to_wire(&from.info.task_id),
        framework_id: id_to_wire(&from.framework_id),
        executor_id: from.executor_id.as_ref().map(executor_id_to_wire),
        agent_id: agent_id_to_wire(&from.info.agent_id),
        state: from.state as i32,
        resources: resources_to_wire(&from.info, format),
        statuses: from.statuses.iter().map(|status| status_to_wire(status)).collect(),
        status_update_state: from.unacknowledged.as_ref().map(|(state, _)| *state as i32),
        status_update_uuid: from.unacknowledged.as_ref().and_then(|(_, uuid)| *uuid).map(uuid_to_wire),
        labels: labels::to_wire(&from.info.labels),
        discovery: extra.discovery,
        container: extra.container,
        health_check: extra.health_check,
        kill_policy: from.info.kill_grace.map(grace_to_wire),
        user: user.and_then(|c| c.user.clone()),
        limits: extra.limits,
    }
}

/// Decodes a task from an operator API; fields that the API omits stay empty.
pub fn from_wire(from: v1::Task) -> Result<Task, Invalid> {
    let state = state_from_number(from.state).ok_or_else(|| Invalid::new("unknown task state"))?;
    let rest = v1::TaskInfo {
        discovery: from.discovery,
        container: from.container,
        health_check: from.health_check,
        limits: from.limits,
        ..Default::default()
    };
    let statuses = from.statuses.into_iter().map(|status| status_from_wire(status).map(Arc::new));
    let statuses: Vec<Arc<TaskStatus>> = statuses.collect::<Result<_, _>>()?;
    let unacknowledged = from.status_update_state.and_then(state_from_number);
    let uuid = from.status_update_uuid.as_ref().and_then(uuid_from_wire);
    let (resources, zero_resources) = resources::with_zeros_from_wire(from.resources)?;
    Ok(Task {
        framework_id: from.framework_id.value.into(),
        executor_id: from.executor_id.map(|id| ExecutorId::from(id.value)),
        state,
        unacknowledged: unacknowledged.map(|state| (state, uuid)),
        launched_at: statuses.first().map(|s| s.timestamp).unwrap_or_default(),
        statuses,
        info: Arc::new(TaskInfo {
            name: from.name,
            task_id: from.task_id.value.into(),
            agent_id: from.agent_id.value.into(),
            resources,
            zero_resources,
            executor: None,
            command: None,
            kill_grace: grace_from_wire(from.kill_policy)?,
            max_completion_time: None,
            data: Bytes::new(),
            labels: labels::from_wire(from.labels),
            image: None,
            extra: encode_extra(&rest),
        }),
    })
}

/// Encodes a status.
pub fn status_to_wire(from: &TaskStatus) -> v1::TaskStatus {
    let mut to: v1::TaskStatus = decode_extra(&from.extra);
    to.task_id = task_id_to_wire(&from.task_id);
    to.state = from.state as i32;
    to.message = from.message.clone();
    to.source = Some(from.source as i32);
    to.reason = from.reason.map(|r| r as i32);
    to.data = (!from.data.is_empty()).then(|| from.data.clone());
    to.agent_id = from.agent_id.as_ref().map(agent_id_to_wire);
    to.executor_id = from.executor_id.as_ref().map(executor_id_to_wire);
    to.timestamp = Some(from.timestamp.as_secs_f64());
    to.uuid = from.uuid.map(uuid_to_wire);
    to.healthy = from.healthy;
    to.labels = labels::to_wire(&from.labels);
    to.unreachable_time = from.unreachable_since.map(time_to_wire);
    to
}

/// Decodes a status. Without a source it is the master's; without a timestamp its time is zero.
pub fn status_from_wire(mut from: v1::TaskStatus) -> Result<TaskStatus, Invalid> {
    let state = state_from_number(from.state).ok_or_else(|| Invalid::new("unknown task state"))?;
    let uuid = match from.uuid.take() {
        Some(bytes) => Some(uuid_from_wire(&bytes).ok_or_else(|| Invalid::new("Not a valid UUID"))?),
        None => None,
    };
    let seconds = from.timestamp.take().filter(|s| s.is_finite() && *s > 0.0).unwrap_or(0.0);
    let status = TaskStatus {
        task_id: TaskId::from(std::mem::take(&mut from.task_id.value)),
        state,
        source: from.source.take().and_then(source_from_number).unwrap_or(Source::Master),
        reason: from.reason.take().and_then(reason_from_number),
        message: from.message.take(),
        agent_id: from.agent_id.take().map(|id| AgentId::from(id.value)),
        executor_id: from.executor_id.take().map(|id| ExecutorId::from(id.value)),
        timestamp: Time((seconds * 1e9) as u64),
        uuid,
        healthy: from.healthy.take(),
        data: from.data.take().unwrap_or_default(),
        labels: labels::from_wire(from.labels.take()),
        unreachable_since: from.unreachable_time.take().map(time_from_wire),
        extra: Bytes::new(),
    };
    // The field is required, so it is always set: a default value means that nothing is left.
    from.state = v1::TaskStatus::default().state;
    Ok(TaskStatus { extra: encode_extra(&from), ..status })
}

/// Encodes an id.
pub fn task_id_to_wire(id: &TaskId) -> v1::TaskId {
    v1::TaskId { value: id.as_str().to_owned() }
}

/// Encodes a UUID as 16 bytes.
pub fn uuid_to_wire(uuid: UpdateId) -> Bytes {
    Bytes::copy_from_slice(&uuid.0)
}

/// Decodes a UUID; `None` unless it has 16 bytes.
pub fn uuid_from_wire(bytes: &Bytes) -> Option<UpdateId> {
    bytes.as_ref().try_into().ok().map(UpdateId)
}

/// Encodes a point in time.
pub fn time_to_wire(time: Time) -> v1::TimeInfo {
    v1::TimeInfo { nanoseconds: i64::try_from(time.0).unwrap_or(i64::MAX) }
}

/// Decodes a point in time; times before 1970 become 1970.
pub fn time_from_wire(time: v1::TimeInfo) -> Time {
    Time(u64::try_from(time.nanoseconds).unwrap_or(0))
}

/// Encodes a kill policy.
pub fn grace_to_wire(grace: Duration) -> v1::KillPolicy {
    v1::KillPolicy { grace_period: Some(duration_to_wire(grace)) }
}

/// Decodes the grace period of a kill policy.
pub fn grace_from_wire(policy: Option<v1::KillPolicy>) -> Result<Option<Duration>, Invalid> {
    duration_from_wire(policy.and_then(|p| p.grace_period), "Task's 'kill_policy.grace_period'")
}

/// Decodes a state.
pub fn state_from_number(number: i32) -> Option<TaskState> {
    use TaskState::*;
    let all = [
        Staging,
        Starting,
        Running,
        Killing,
        Finished,
        Failed,
        Killed,
        Error,
        Lost,
        Dropped,
        Unreachable,
        Gone,
        GoneByOperator,
        Unknown,
    ];
    all.into_iter().find(|s| *s as i32 == number)
}

/// The state's name on the wire.
pub fn state_name(state: TaskState) -> &'static str {
    v1::TaskState::try_from(state as i32).map_or("TASK_UNKNOWN", |s| s.as_str_name())
}

/// The source's name on the wire.
pub fn source_name(source: Source) -> &'static str {
    v1::task_status::Source::try_from(source as i32).map_or("SOURCE_MASTER", |s| s.as_str_name())
}

/// The reason's name on the wire.
pub fn reason_name(reason: Reason) -> &'static str {
    v1::task_status::Reason::try_from(reason as i32)
        .map_or("REASON_COMMAND_EXECUTOR_FAILED", |r| r.as_str_name())
}

fn source_from_number(number: i32) -> Option<Source> {
    [Source::Master, Source::Agent, Source::Executor].into_iter().find(|s| *s as i32 == number)
}

/// The reason with this number; `None` for one of another version.
pub fn reason_from_number(number: i32) -> Option<Reason> {
    use Reason::*;
    let all = [
        CommandExecutorFailed,
        ExecutorTerminated,
        ExecutorUnregistered,
        FrameworkRemoved,
        GcError,
        InvalidFrameworkId,
        InvalidOffers,
        MasterDisconnected,
        ContainerLimitationMemory,
        Reconciliation,
        AgentDisconnected,
        AgentRemoved,
        AgentRestarted,
        AgentUnknown,
        TaskInvalid,
        TaskUnauthorized,
        TaskUnknown,
        ContainerPreempted,
        ResourcesUnknown,
        ContainerLimitation,
        ContainerLimitationDisk,
        ContainerLaunchFailed,
        ContainerUpdateFailed,
        ExecutorRegistrationTimeout,
        ExecutorReregistrationTimeout,
        TaskGroupInvalid,
        TaskGroupUnauthorized,
        IoSwitchboardExited,
        TaskCheckStatusUpdated,
        TaskHealthCheckStatusUpdated,
        TaskKilledDuringLaunch,
        AgentRemovedByOperator,
        AgentReregistered,
        MaxCompletionTimeReached,
        AgentDraining,
    ];
    all.into_iter().find(|r| *r as i32 == number)
}
