//! Status updates from agents, and the ends of executors.

use std::sync::Arc;

use kernel_model::{
    agent::ToAgent,
    ids::{AgentId, ExecutorId, FrameworkId},
    operator, scheduler,
    task::{Reason, Task, TaskState, TaskStatus},
};

use super::{Master, effect::RecordKey, state::Framework};

/// How many statuses of a task are remembered: there are 14 states, so only one that goes back and forth loses any.
const STATUSES_MAX: usize = 16;

impl Master {
    pub(super) fn status_update(
        &mut self,
        agent_id: &AgentId,
        framework_id: FrameworkId,
        status: Arc<TaskStatus>,
        latest: TaskState,
    ) {
        let Some(framework) = self.frameworks.get_mut(&framework_id) else {
            if self.registry.get(&RecordKey::EndedFramework(framework_id.clone())).is_some() {
                self.tell_agent(agent_id, ToAgent::ShutdownFramework { framework_id });
            }
            return;
        };
        if is_old_news(framework, &status) {
            let again = framework.tasks.get(&status.task_id).is_some_and(|t| t.info.agent_id == *agent_id);
            let key = (framework_id.clone(), status.task_id.clone());
            self.answer_in_its_place(agent_id, framework_id, status);
            // While the agent had this to tell, a later launch under the same id meant nothing to it. Whether it has taken
            // that one nevertheless, it says now that the old news is out of the way.
            if again {
                self.send_reregistered(agent_id, vec![key]);
            }
            return;
        }
        let Some(task) = framework.tasks.get_mut(&status.task_id) else {
            // It may have ended in this master's eyes; the framework is told all the same, and acknowledges.
            return self.tell_framework(&framework_id, scheduler::Event::Update { status });
        };
        if task.info.agent_id != *agent_id {
            // The framework has used the id again on another agent meanwhile, and would take this for the new one.
            return self.answer_in_its_place(agent_id, framework_id, status);
        }
        let before = task.state;
        let kept = status.without_data();
        let told = record(task, kept.clone(), latest);
        let ended = task.state.is_terminal() && !before.is_terminal();
        let resources = ended.then(|| task.info.resources.clone());
        let done = ended && status.uuid.is_none();
        if let Some(resources) = resources {
            self.release(agent_id, &framework_id, &resources);
        }
        if told {
            let event =
                operator::Event::TaskUpdated { framework_id: framework_id.clone(), status: kept, latest };
            self.operator_event(event);
        }
        if done {
            self.complete_task(&framework_id, &status.task_id);
        }
        self.tell_framework(&framework_id, scheduler::Event::Update { status });
    }

    /// The framework is not to hear of this update, so the master acknowledges it.
    fn answer_in_its_place(
        &mut self,
        agent_id: &AgentId,
        framework_id: FrameworkId,
        status: Arc<TaskStatus>,
    ) {
        if let Some(uuid) = status.uuid {
            let task_id = status.task_id.clone();
            let message = ToAgent::Acknowledge { framework_id, task_id, uuid };
            self.tell_agent(agent_id, message);
        }
    }

    pub(super) fn executor_exited(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        status: i32,
    ) {
        if self.remove_executor(agent_id, framework_id, &executor_id).is_none() {
            return;
        }
        let event = scheduler::Event::Failure {
            agent_id: Some(agent_id.clone()),
            executor_id: Some(executor_id),
            status: Some(status),
        };
        self.tell_framework(framework_id, event);
    }
}

/// Whether an update is the end that the framework has acknowledged of a task, sent again because the agent had not heard
/// of that yet. If the id is in use again, it must not be taken for the new task's end.
fn is_old_news(framework: &Framework, status: &TaskStatus) -> bool {
    let fresh = || framework.tasks.get(&status.task_id).is_none_or(|task| task.state == TaskState::Staging);
    status.state.is_terminal()
        && status.uuid.is_some()
        && fresh()
        && framework
            .completed_tasks
            .iter()
            .rev()
            .filter(|old| old.info.task_id == status.task_id)
            .any(|old| old.unacknowledged == Some((status.state, status.uuid)))
}

/// Enters a status, which comes without data, into the task's record; returns whether operators are to be told.
fn record(task: &mut Task, status: Arc<TaskStatus>, latest: TaskState) -> bool {
    let before = task.state;
    if !task.state.is_terminal() {
        task.state = latest;
    }
    if status.uuid.is_some() {
        task.unacknowledged = Some((status.state, status.uuid));
    }
    let checked =
        matches!(status.reason, Some(Reason::TaskCheckStatusUpdated | Reason::TaskHealthCheckStatusUpdated));
    let again = task.statuses.last().is_some_and(|last| last.uuid == status.uuid && status.uuid.is_some());
    match task.statuses.last_mut() {
        Some(last) if last.state == status.state => *last = status,
        _ => task.statuses.push(status),
    }
    if task.statuses.len() > STATUSES_MAX {
        task.statuses.remove(0);
    }
    task.state != before || (checked && !again)
}
