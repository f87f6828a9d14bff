//! A simulated executor: tasks start at once, run until they are killed, and terminate at once.

use std::collections::VecDeque;

use kernel_core::agent::{ConnectionId, Event};
use kernel_model::{
    executor::{Call, Event as ExecutorEvent},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use super::agent::HollowAgent;

pub(super) fn react(
    agent: &mut HollowAgent,
    now: Time,
    connection: ConnectionId,
    event: ExecutorEvent,
    events: &mut VecDeque<Event>,
) {
    let Some(executor) = agent.executors.iter().find(|executor| executor.connection == connection) else {
        return;
    };
    let who = (executor.framework_id.clone(), executor.executor_id.clone());
    let container_id = executor.container_id.clone();
    match event {
        ExecutorEvent::Launch { task } => launch(agent, now, &who, &task, events),
        ExecutorEvent::LaunchGroup { tasks } => {
            tasks.iter().for_each(|task| launch(agent, now, &who, task, events));
        }
        ExecutorEvent::Kill { task_id, .. } => end(agent, now, (&who, &task_id), TaskState::Killed, events),
        ExecutorEvent::Evict { task_id, .. } => end(agent, now, (&who, &task_id), TaskState::Failed, events),
        ExecutorEvent::Shutdown => {
            for task_id in agent.agent.unfinished_tasks(&who.0, &who.1) {
                end(agent, now, (&who, &task_id), TaskState::Killed, events);
            }
            events.extend(agent.end_executor(&container_id));
        }
        ExecutorEvent::Subscribed { .. }
        | ExecutorEvent::Acknowledged { .. }
        | ExecutorEvent::Message { .. }
        | ExecutorEvent::Error { .. }
        | ExecutorEvent::TaskResized { .. }
        | ExecutorEvent::Heartbeat => {}
    }
}

fn launch(
    agent: &mut HollowAgent,
    now: Time,
    who: &(FrameworkId, ExecutorId),
    task: &TaskInfo,
    events: &mut VecDeque<Event>,
) {
    update(agent, now, who, task, &[TaskState::Starting, TaskState::Running], events);
}

fn end(
    agent: &mut HollowAgent,
    now: Time,
    (who, task_id): (&(FrameworkId, ExecutorId), &TaskId),
    state: TaskState,
    events: &mut VecDeque<Event>,
) {
    let task = agent.agent.task(&who.0, task_id).filter(|task| !task.state.is_terminal());
    if let Some(info) = task.map(|task| task.info.clone()) {
        update(agent, now, who, &info, &[state], events);
    }
}

fn update(
    agent: &mut HollowAgent,
    now: Time,
    who: &(FrameworkId, ExecutorId),
    task: &TaskInfo,
    states: &[TaskState],
    events: &mut VecDeque<Event>,
) {
    let all_data = (agent.options.status_data)(agent.agent.info(), task, states);
    for (state, data) in states.iter().zip(all_data) {
        let status = TaskStatus {
            uuid: Some(agent.update_id()),
            data,
            ..TaskStatus::new(task.task_id.clone(), *state, Source::Executor, now)
        };
        let (framework_id, executor_id) = who.clone();
        let request = kernel_core::agent::RequestId(0);
        events.push_back(Event::Call {
            request,
            framework_id,
            executor_id,
            call: Call::Update { status: status.into() },
        });
    }
}
