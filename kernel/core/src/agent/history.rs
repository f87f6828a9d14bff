//! What has ended on this agent, for operators: completed tasks, executors and frameworks. A restart keeps the newest of
//! frameworks with `checkpoint`; see [`super::checkpoint`].

use std::collections::VecDeque;

use bytes::Bytes;
use kernel_model::{
    ids::{ExecutorId, FrameworkId},
    task::{Task, TaskInfo},
};

use super::{Agent, AgentTask, Executor, ExecutorView, ExecutorViewPhase, Framework, FrameworkView};

/// How many completed frameworks are kept (Mesos' `MAX_COMPLETED_FRAMEWORKS`).
pub const COMPLETED_FRAMEWORKS_MAX: usize = 50;

/// How many completed executors of a framework are kept (Mesos' `DEFAULT_MAX_COMPLETED_EXECUTORS_PER_FRAMEWORK`).
pub const COMPLETED_EXECUTORS_MAX: usize = 150;

/// How many completed tasks of an executor are kept (Mesos' `MAX_COMPLETED_TASKS_PER_EXECUTOR`).
pub const COMPLETED_TASKS_MAX: usize = 200;

/// Appends an item and drops the oldest beyond the limit.
fn remember<T>(history: &mut VecDeque<T>, item: T, limit: usize) {
    if history.len() >= limit {
        history.pop_front();
    }
    history.push_back(item);
}

impl Framework {
    /// Remembers a task whose terminal update was acknowledged. Those of respawned executors (Pods) are not: there are
    /// many, and the API server has them.
    pub(super) fn remember_task(&mut self, entry: AgentTask) {
        let AgentTask { mut task, executor_id, .. } = entry;
        if let Some(executor) = self.executors.get_mut(&executor_id) {
            if !executor.info.respawns() {
                release_data(&mut task);
                remember(&mut executor.completed_tasks, task, COMPLETED_TASKS_MAX);
            }
            return;
        }
        let completed = self.completed_executors.iter_mut().rev();
        let owner = completed.into_iter().find(|executor| executor.info.executor_id == executor_id);
        if let Some(executor) = owner.filter(|executor| !executor.info.respawns()) {
            release_data(&mut task);
            executor.completed_tasks.push(task);
        }
    }

    /// Remembers an executor that has terminated.
    pub(super) fn remember_executor(&mut self, executor: Executor) {
        let view = ExecutorView {
            info: executor.info,
            container_id: executor.container_id,
            phase: ExecutorViewPhase::Terminated,
            tasks: Vec::new(),
            completed_tasks: executor.completed_tasks.into(),
        };
        remember(&mut self.completed_executors, view, COMPLETED_EXECUTORS_MAX);
    }

    /// Completed executors, oldest first, with their tasks, acknowledged or not.
    pub(super) fn completed_executors(&self) -> Vec<ExecutorView> {
        let mut views: Vec<ExecutorView> = self.completed_executors.iter().cloned().collect();
        let mut seen: Vec<ExecutorId> = self.executors.keys().cloned().collect();
        for view in views.iter_mut().rev().filter(|view| !view.info.respawns()) {
            // Tasks that wait for an acknowledgement belong to the latest executor of their id.
            if !seen.contains(&view.info.executor_id) {
                seen.push(view.info.executor_id.clone());
                view.tasks
                    .extend(self.tasks_of(&view.info.executor_id).map(|e| (e.task.clone(), e.delivered)));
            }
        }
        views
    }
}

/// Drops what only the executor needed, which is most of a task's bytes.
fn release_data(task: &mut Task) {
    if !task.info.data.is_empty() {
        task.info = TaskInfo { data: Bytes::new(), ..TaskInfo::clone(&task.info) }.into();
    }
}

impl Agent {
    /// Removes a framework that has ended on this agent, and remembers it with its executors.
    pub(super) fn forget_framework(&mut self, id: &FrameworkId) {
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        for (_, entry) in std::mem::take(&mut framework.tasks) {
            framework.remember_task(*entry);
        }
        if framework.completed_executors.is_empty() {
            return;
        }
        let view = FrameworkView {
            info: framework.info,
            executors: Vec::new(),
            completed_executors: framework.completed_executors.into(),
        };
        remember(&mut self.completed_frameworks, view, COMPLETED_FRAMEWORKS_MAX);
    }

    /// The completed executors of a framework that comes back; it is no completed one any more.
    pub(super) fn recall_executors(&mut self, id: &FrameworkId) -> VecDeque<ExecutorView> {
        let place = self.completed_frameworks.iter().position(|view| view.info.id.as_ref() == Some(id));
        let view = place.and_then(|place| self.completed_frameworks.remove(place));
        view.map(|view| view.completed_executors.into()).unwrap_or_default()
    }

    /// Frameworks that have ended on this agent, oldest first.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &FrameworkView> {
        self.completed_frameworks.iter()
    }
}
