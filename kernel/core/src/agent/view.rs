//! Read access to the agent for operators and auditors.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::{
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    task::{Task, TaskState, TaskStatus},
};

use super::{Agent, ExecutorPhase, LinkedVolume};

/// A framework on this agent.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FrameworkView {
    pub info: Arc<FrameworkInfo>,
    /// Ordered by id.
    pub executors: Vec<ExecutorView>,
    /// Oldest first.
    pub completed_executors: Vec<ExecutorView>,
}

/// An executor on this agent.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ExecutorView {
    pub info: Arc<ExecutorInfo>,
    /// The container of the current or latest run.
    pub container_id: ContainerId,
    pub phase: ExecutorViewPhase,
    /// The tasks without an acknowledged end, ordered by id, each with whether it was delivered.
    pub tasks: Vec<(Task, bool)>,
    /// Tasks whose end was acknowledged, oldest first.
    pub completed_tasks: Vec<Task>,
}

/// The phase of an executor, as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExecutorViewPhase {
    /// Started, and not subscribed yet.
    Registering,
    Running,
    Terminating,
    Terminated,
    /// Between two runs of a respawned executor.
    Waiting,
}

impl ExecutorView {
    /// Whether it has a container.
    pub fn has_container(&self) -> bool {
        !matches!(self.phase, ExecutorViewPhase::Terminated | ExecutorViewPhase::Waiting)
    }
}

/// What an agent has counted since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Terminal status updates by state.
    pub ended_tasks: BTreeMap<TaskState, u64>,
    /// Status updates of executors and of the agent itself.
    pub status_updates: u64,
    /// Executors that have terminated.
    pub terminated_executors: u64,
    /// Containers that could not be started.
    pub launch_errors: u64,
    /// Executors that were killed, and tasks whose executor was told to evict them, because of the state of the machine.
    pub preempted_executors: u64,
    #[allow(missing_docs)]
    pub preempted_tasks: u64,
    /// Status updates of executors that were refused.
    pub refused_updates: u64,
    /// Messages of frameworks that were passed on to their executors.
    pub framework_messages: u64,
    /// Those whose executor was unknown or not connected.
    pub dropped_framework_messages: u64,
}

impl Agent {
    /// All frameworks on this agent, ordered by id.
    pub fn view(&self) -> Vec<FrameworkView> {
        let frameworks = self.frameworks.values().map(|framework| FrameworkView {
            info: framework.info.clone(),
            executors: framework
                .executors
                .iter()
                .map(|(executor_id, executor)| ExecutorView {
                    info: executor.info.clone(),
                    container_id: executor.container_id.clone(),
                    phase: match executor.phase {
                        ExecutorPhase::Starting => ExecutorViewPhase::Registering,
                        ExecutorPhase::Returning | ExecutorPhase::Running => ExecutorViewPhase::Running,
                        ExecutorPhase::Terminating { .. } => ExecutorViewPhase::Terminating,
                        ExecutorPhase::Waiting => ExecutorViewPhase::Waiting,
                    },
                    tasks: framework
                        .tasks_of(executor_id)
                        .map(|entry| (entry.task.clone(), entry.delivered))
                        .collect(),
                    completed_tasks: executor.completed_tasks.iter().cloned().collect(),
                })
                .collect(),
            completed_executors: framework.completed_executors(),
        });
        frameworks.collect()
    }

    /// What it has counted since its start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// An executor's description, and the container of its current run.
    pub fn executor_run(
        &self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<(Arc<ExecutorInfo>, ContainerId)> {
        let executor = self.frameworks.get(framework_id)?.executors.get(executor_id)?;
        Some((executor.info.clone(), executor.container_id.clone()))
    }

    /// The executor whose container this is.
    pub fn executor_of(&self, container_id: &ContainerId) -> Option<(FrameworkId, Arc<ExecutorInfo>)> {
        self.frameworks.iter().find_map(|(id, framework)| {
            let mut executors = framework.executors.values();
            let executor = executors.find(|executor| executor.container_id == *container_id)?;
            Some((id.clone(), executor.info.clone()))
        })
    }

    /// The persistent volumes in the sandbox of an executor's container.
    pub fn volumes_in(&self, container_id: &ContainerId) -> Vec<LinkedVolume> {
        let executor = self.executor_of(container_id);
        let volumes = executor.map(|(framework_id, info)| self.volumes(&framework_id, &info.executor_id));
        volumes.unwrap_or_default()
    }

    /// Whether the commands of an executor's unfinished tasks name a user.
    pub fn runs_task_as(&self, container_id: &ContainerId, user: &str) -> bool {
        let Some((framework_id, info)) = self.executor_of(container_id) else { return false };
        let framework = self.frameworks.get(&framework_id);
        let mut tasks = framework.into_iter().flat_map(|framework| framework.tasks_of(&info.executor_id));
        tasks.any(|entry| {
            let command = entry.task.info.command.as_ref();
            !entry.task.state.is_terminal()
                && command.is_some_and(|command| command.user.as_deref() == Some(user))
        })
    }

    /// A task, until its terminal update is acknowledged.
    pub fn task(&self, framework_id: &FrameworkId, task_id: &TaskId) -> Option<&Task> {
        self.frameworks.get(framework_id)?.tasks.get(task_id).map(|entry| &entry.task)
    }

    /// The unfinished tasks of an executor, ordered by id.
    pub fn unfinished_tasks(&self, framework_id: &FrameworkId, executor_id: &ExecutorId) -> Vec<TaskId> {
        let framework = self.frameworks.get(framework_id);
        framework.map(|framework| framework.unfinished_tasks_of(executor_id)).unwrap_or_default()
    }

    /// Tasks whose executor is removed and whose last update is unacknowledged, ordered by framework and id.
    pub fn orphans(&self) -> Vec<Task> {
        let frameworks = self.frameworks.values();
        let left = frameworks.flat_map(|framework| {
            framework.tasks.values().filter(|entry| !framework.executors.contains_key(&entry.executor_id))
        });
        left.map(|entry| entry.task.clone()).collect()
    }

    /// Unacknowledged updates, in order of delivery within each task.
    pub fn undelivered(&self) -> impl Iterator<Item = &TaskStatus> {
        self.streams.values().flat_map(|stream| stream.queue.iter().map(|status| &**status))
    }
}
