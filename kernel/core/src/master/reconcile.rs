//! Reconciliation: answers with the master's state of tasks.

use kernel_model::{
    ids::{AgentId, FrameworkId, TaskId},
    scheduler,
    task::{Reason, Source, Task, TaskState, TaskStatus},
    time::Time,
};

use super::{Master, accept::lost_state, effect::RecordKey};

impl Master {
    pub(super) fn reconcile(&mut self, id: &FrameworkId, tasks: Vec<(TaskId, Option<AgentId>)>) {
        if !tasks.is_empty() {
            for (task_id, agent_id) in tasks {
                self.reconcile_one(id, task_id, agent_id);
            }
            return;
        }
        let Some(framework) = self.frameworks.get(id) else { return };
        let statuses: Vec<TaskStatus> = framework.tasks.values().map(|t| self.latest(t)).collect();
        for status in statuses {
            self.send_to_framework(id, scheduler::Event::Update { status: status.into() });
        }
    }

    /// Reconciles one task. Does not answer while the agent may still re-register, because the update will follow.
    pub(super) fn reconcile_one(&mut self, id: &FrameworkId, task_id: TaskId, agent_id: Option<AgentId>) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let status = match framework.tasks.get(&task_id) {
            Some(task) => self.latest(task),
            None => {
                let Some((state, message, since)) = self.inferred_state(agent_id.as_ref()) else { return };
                TaskStatus {
                    reason: Some(Reason::Reconciliation),
                    message: Some(format!("Reconciliation: {message}")),
                    agent_id,
                    unreachable_since: since,
                    ..TaskStatus::new(task_id, lost_state(&framework.info, state), Source::Master, self.now)
                }
            }
        };
        self.send_to_framework(id, scheduler::Event::Update { status: status.into() });
    }

    /// The state of an unknown task, inferred from the state of its agent; `None` while that is undecided.
    fn inferred_state(&self, agent_id: Option<&AgentId>) -> Option<(TaskState, &'static str, Option<Time>)> {
        let Some(id) = agent_id else {
            let open = self.absent.values().any(|a| a.unreachable_since.is_none());
            return (!open).then_some((TaskState::Unknown, "Task is unknown", None));
        };
        if let Some(absent) = self.absent.get(id) {
            let since = absent.unreachable_since?;
            return Some((TaskState::Unreachable, "Task is unreachable", Some(since)));
        }
        if self.agents.contains_key(id) {
            return Some((TaskState::Gone, "Task is unknown to the agent", None));
        }
        if self.registry.get(&RecordKey::GoneAgent(id.clone())).is_some() {
            return Some((TaskState::GoneByOperator, "Task is gone", None));
        }
        Some((TaskState::Unknown, "Task is unknown", None))
    }

    fn latest(&self, task: &Task) -> TaskStatus {
        let state = task.unacknowledged.map_or(task.state, |(state, _)| state);
        let mut status = self.status_of(task, state, Reason::Reconciliation);
        status.message = Some("Reconciliation: Latest task state".to_owned());
        status
    }

    /// A status of a known task with the master as its source and without a uuid.
    pub(super) fn status_of(&self, task: &Task, state: TaskState, reason: Reason) -> TaskStatus {
        let last = task.statuses.last();
        TaskStatus {
            reason: Some(reason),
            agent_id: Some(task.info.agent_id.clone()),
            executor_id: task.executor_id.clone(),
            healthy: last.and_then(|s| s.healthy),
            extra: last.map(|s| s.extra.clone()).unwrap_or_default(),
            ..TaskStatus::new(task.info.task_id.clone(), state, Source::Master, self.now)
        }
    }
}
