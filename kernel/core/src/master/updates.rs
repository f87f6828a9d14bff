//! Status updates from agents, and terminated executors.

use std::sync::Arc;

use kernel_model::{
    agent::ToAgent,
    ids::{AgentId, ExecutorId, FrameworkId},
    operator, scheduler,
    task::{Reason, Task, TaskState, TaskStatus},
};

use super::{Master, effect::RecordKey, state::Framework};

/// How many statuses of a task are kept: there are 14 states, so only a task that alternates between states loses any.
const STATUSES_MAX: usize = 16;

impl Master {
    pub(super) fn status_update(
        &mut self,
        agent_id: &AgentId,
        framework_id: FrameworkId,
        status: Arc<TaskStatus>,
        latest: TaskState,
    ) {
        let status = self.with_preemption(&framework_id, status);
        let (status, latest) = self.with_drain(agent_id, &framework_id, status, latest);
        let connected = self.frameworks.get(&framework_id).is_some_and(|f| f.stream().is_some());
        self.counts.status_updates.count(connected);
        let Some(framework) = self.frameworks.get_mut(&framework_id) else {
            if self.registry.get(&RecordKey::EndedFramework(framework_id.clone())).is_some() {
                self.send_to_agent(agent_id, ToAgent::ShutdownFramework { framework_id });
            }
            return;
        };
        if is_acknowledged_end(framework, &status) {
            let again = framework.tasks.get(&status.task_id).is_some_and(|t| t.info.agent_id == *agent_id);
            let key = (framework_id.clone(), status.task_id.clone());
            self.acknowledge_for_framework(agent_id, framework_id, status);
            // The agent ignored a later launch under the same id while it had this update. Ask it whether it has taken
            // that launch nevertheless.
            if again {
                self.send_reregistered(agent_id, vec![key]);
            }
            return;
        }
        let Some(task) = framework.tasks.get_mut(&status.task_id) else {
            // The master may have completed the task already; the framework is told all the same, and acknowledges.
            return self.send_to_framework(&framework_id, scheduler::Event::Update { status });
        };
        if task.info.agent_id != *agent_id {
            // The framework reused the id on another agent meanwhile, and would take this update for the new task.
            return self.acknowledge_for_framework(agent_id, framework_id, status);
        }
        let before = task.state;
        let kept = status.without_data();
        let changed = record(task, kept.clone(), latest);
        let ended = task.state.is_terminal() && !before.is_terminal();
        let resources = ended.then(|| task.info.resources.clone());
        let done = ended && status.uuid.is_none();
        if let Some(resources) = resources {
            self.release(agent_id, &framework_id, &resources);
            // The latest state may be one whose update waits for earlier ones, with a reason that is not known yet.
            let known = status.state == latest;
            let reason = status.reason.filter(|_| known);
            self.count_task(&framework_id, latest, status.source, reason);
        }
        if changed {
            let event =
                operator::Event::TaskUpdated { framework_id: framework_id.clone(), status: kept, latest };
            self.operator_event(event);
        }
        if done {
            self.complete_task(&framework_id, &status.task_id);
        }
        self.send_to_framework(&framework_id, scheduler::Event::Update { status });
    }

    /// The framework must not see this update, so the master acknowledges it.
    fn acknowledge_for_framework(
        &mut self,
        agent_id: &AgentId,
        framework_id: FrameworkId,
        status: Arc<TaskStatus>,
    ) {
        if let Some(uuid) = status.uuid {
            let task_id = status.task_id.clone();
            let message = ToAgent::Acknowledge { framework_id, task_id, uuid };
            self.send_to_agent(agent_id, message);
        }
    }

    pub(super) fn executor_exited(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        status: i32,
    ) {
        self.counts.exited_executors += 1;
        if self.remove_executor(agent_id, framework_id, &executor_id).is_none() {
            return;
        }
        let event = scheduler::Event::Failure {
            agent_id: Some(agent_id.clone()),
            executor_id: Some(executor_id),
            status: Some(status),
        };
        self.send_to_framework(framework_id, event);
    }
}

/// Whether an update repeats a terminal update that the framework acknowledged, because the agent did not receive the
/// acknowledgement. If the id was reused, the update must not terminate the new task.
fn is_acknowledged_end(framework: &Framework, status: &TaskStatus) -> bool {
    let is_new_task =
        || framework.tasks.get(&status.task_id).is_none_or(|task| task.state == TaskState::Staging);
    status.state.is_terminal()
        && status.uuid.is_some()
        && is_new_task()
        && framework
            .completed_tasks
            .iter()
            .rev()
            .filter(|old| old.info.task_id == status.task_id)
            .any(|old| old.unacknowledged == Some((status.state, status.uuid)))
}

/// Records a status without data; returns whether operators are told.
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
