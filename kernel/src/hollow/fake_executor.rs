//! What a simulated executor does about the agent's events: tasks start at once, run until they are killed, and die at once.

use std::collections::VecDeque;

use kernel_core::agent::{ConnectionId, Event};
use kernel_model::{
    executor::{Call, Event as ExecutorEvent},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use super::machine::Machine;

pub(super) fn react(
    machine: &mut Machine,
    now: Time,
    connection: ConnectionId,
    event: ExecutorEvent,
    events: &mut VecDeque<Event>,
) {
    let Some(executor) = machine.executors.iter().find(|executor| executor.connection == connection) else {
        return;
    };
    let who = (executor.framework_id.clone(), executor.executor_id.clone());
    let container_id = executor.container_id.clone();
    match event {
        ExecutorEvent::Launch { task } => launch(machine, now, &who, &task, events),
        ExecutorEvent::LaunchGroup { tasks } => {
            tasks.iter().for_each(|task| launch(machine, now, &who, task, events));
        }
        ExecutorEvent::Kill { task_id, .. } => kill(machine, now, &who, &task_id, events),
        ExecutorEvent::Shutdown => {
            for task_id in machine.agent.unfinished_tasks(&who.0, &who.1) {
                kill(machine, now, &who, &task_id, events);
            }
            events.extend(machine.end_executor(&container_id));
        }
        ExecutorEvent::Subscribed { .. }
        | ExecutorEvent::Acknowledged { .. }
        | ExecutorEvent::Message { .. }
        | ExecutorEvent::Error { .. }
        | ExecutorEvent::Heartbeat => {}
    }
}

fn launch(
    machine: &mut Machine,
    now: Time,
    who: &(FrameworkId, ExecutorId),
    task: &TaskInfo,
    events: &mut VecDeque<Event>,
) {
    update(machine, now, who, task, &[TaskState::Starting, TaskState::Running], events);
}

fn kill(
    machine: &mut Machine,
    now: Time,
    who: &(FrameworkId, ExecutorId),
    task_id: &TaskId,
    events: &mut VecDeque<Event>,
) {
    let task = machine.agent.task(&who.0, task_id).filter(|task| !task.state.is_terminal());
    if let Some(info) = task.map(|task| task.info.clone()) {
        update(machine, now, who, &info, &[TaskState::Killed], events);
    }
}

fn update(
    machine: &mut Machine,
    now: Time,
    who: &(FrameworkId, ExecutorId),
    task: &TaskInfo,
    states: &[TaskState],
    events: &mut VecDeque<Event>,
) {
    let all_data = (machine.options.status_data)(machine.agent.info(), task, states);
    for (state, data) in states.iter().zip(all_data) {
        let status = TaskStatus {
            uuid: Some(machine.update_id()),
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
