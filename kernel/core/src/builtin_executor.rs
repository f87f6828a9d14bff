//! The built-in executors as one state machine: the command executor runs one task, the default executor runs groups of
//! tasks that live and die together (Mesos' `src/launcher/executor.cpp` and `default_executor.cpp`).
//!
//! The shell starts what [`Action::Start`] names and says what became of it. An update is kept, and sent with each
//! subscription, until it is acknowledged.

pub mod health;
mod tasks;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use indexmap::IndexMap;
use kernel_model::{
    executor::{Event as AgentEvent, ExecutorKind},
    framework::FrameworkCapability,
    ids::{TaskId, UpdateId},
    task::{Reason, Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::id_generator::IdGenerator;
use health::HealthPolicy;
use tasks::Task;

/// The default time between SIGTERM and SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(3);
/// How long to wait for the acknowledgement of the last update.
const LAST_ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(60);
/// Part of the shutdown's grace period that is left for the last updates.
const LAST_UPDATES: Duration = Duration::from_secs(1);

/// What the agent told the executor at its start.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Settings {
    /// `Command` or `Default`.
    pub kind: ExecutorKind,
    /// How long a disconnected agent may take to come back; zero without a checkpoint.
    pub recovery_wait: Duration,
    /// The time between SHUTDOWN and a forced kill by the agent.
    pub shutdown_grace: Duration,
    /// For the ids of updates: different in each run.
    pub seed: u64,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An event from the agent.
    Agent(AgentEvent),
    /// The agent did not come back in time, or refuses this executor.
    Abandoned,
    /// A task's process runs.
    Started {
        /// The task.
        task_id: TaskId,
        /// The rules of its health check, if it has one.
        health: Option<HealthPolicy>,
        /// The fields of its statuses that the kernel does not interpret.
        extra: Bytes,
    },
    /// A task's process could not be started, or was stopped before.
    NotStarted {
        /// The task.
        task_id: TaskId,
        /// Whether its container was not started. Of a plain process, statuses have no reason, as in Mesos.
        is_container: bool,
        /// Why.
        message: String,
    },
    /// A task's process exited.
    Exited {
        /// The task.
        task_id: TaskId,
        /// Whether it ended with status 0.
        succeeded: bool,
        /// The exit in words.
        message: String,
    },
    /// A task's container has ended for a reason that the agent has found.
    Failed {
        /// The task.
        task_id: TaskId,
        /// Why.
        reason: Reason,
        /// The same in words.
        message: String,
        /// The fields of its last status that the kernel does not interpret.
        extra: Bytes,
    },
    /// A result of a task's health check.
    Health {
        /// The task.
        task_id: TaskId,
        /// Whether the task is healthy.
        good: bool,
    },
    /// A result of a task's check.
    Check {
        /// The task.
        task_id: TaskId,
        /// The fields of its statuses that the kernel does not interpret, from now on.
        extra: Bytes,
    },
    /// A deadline may have passed.
    Wake,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a task's process, as its command's user or this one.
    Start {
        /// The task.
        task: Box<TaskInfo>,
        /// The framework's user.
        framework_user: String,
    },
    /// Stop the preparation of a task, or send SIGTERM to its processes.
    Terminate(TaskId),
    /// Send SIGKILL to a task's processes.
    Kill(TaskId),
    /// Send an update to the agent.
    Update(Arc<TaskStatus>),
    /// Write a line to the executor's own log.
    Log(String),
}

/// The state machine.
pub struct BuiltinExecutor {
    settings: Settings,
    id_generator: IdGenerator,
    can_kill_slowly: bool,
    /// The user of tasks that name none.
    framework_user: String,
    /// In the order of their launches. Ended ones stay until their updates are acknowledged.
    tasks: IndexMap<TaskId, Task>,
    groups: u64,
    /// Whether a task was ever launched.
    was_used: bool,
    /// Received tasks without an acknowledged update.
    unacknowledged_tasks: BTreeSet<TaskId>,
    unacknowledged: Vec<Arc<TaskStatus>>,
    /// When to exit, even with unacknowledged updates.
    leave_at: Option<Time>,
    shutting_down: bool,
}

impl BuiltinExecutor {
    /// An executor without tasks.
    pub fn new(settings: Settings) -> Self {
        Self {
            id_generator: IdGenerator::new(settings.seed),
            settings,
            can_kill_slowly: false,
            framework_user: String::new(),
            tasks: IndexMap::new(),
            groups: 0,
            was_used: false,
            unacknowledged_tasks: BTreeSet::new(),
            unacknowledged: Vec::new(),
            leave_at: None,
            shutting_down: false,
        }
    }

    /// What SUBSCRIBE reports to the agent.
    pub fn unacknowledged(&self) -> (Vec<TaskId>, Vec<TaskStatus>) {
        let updates = self.unacknowledged.iter().map(|status| TaskStatus::clone(status)).collect();
        (self.unacknowledged_tasks.iter().cloned().collect(), updates)
    }

    /// When [`Event::Wake`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let of_tasks = self.tasks.values().flat_map(|task| [task.kill_at, task.complete_by]);
        of_tasks.chain([self.leave_at]).flatten().min()
    }

    /// Whether the executor has nothing left to do.
    pub fn is_over(&self, now: Time) -> bool {
        let all_known = self.was_used && !self.runs() && self.unacknowledged.is_empty();
        all_known || self.leave_at.is_some_and(|at| at <= now)
    }

    fn runs(&self) -> bool {
        self.tasks.values().any(|task| !task.has_ended())
    }

    /// Takes an event; appends what has to be done.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Agent(event) => self.agent_event(now, event, out),
            Event::Abandoned => self.shut_down(now, out),
            Event::Started { task_id, health, extra } => self.started(now, &task_id, health, extra, out),
            Event::NotStarted { task_id, is_container, message } => {
                self.not_started(now, &task_id, is_container, message, out);
            }
            Event::Exited { task_id, succeeded, message } => {
                self.exited(now, &task_id, succeeded, message, out);
            }
            Event::Failed { task_id, reason, message, extra } => {
                self.failed(now, &task_id, reason, message, extra, out);
            }
            Event::Health { task_id, good } => self.health_result(now, &task_id, good, out),
            Event::Check { task_id, extra } => self.check_result(now, &task_id, extra, out),
            Event::Wake => {}
        }
        self.deadlines(now, out);
    }

    fn agent_event(&mut self, now: Time, event: AgentEvent, out: &mut Vec<Action>) {
        match event {
            AgentEvent::Subscribed { framework, .. } => {
                self.can_kill_slowly = framework.can(FrameworkCapability::TaskKillingState);
                self.framework_user.clone_from(&framework.user);
                // Updates that were made during the subscription; the agent only acknowledges repeated ones.
                out.extend(self.unacknowledged.iter().cloned().map(Action::Update));
            }
            AgentEvent::Launch { task } => match self.settings.kind {
                ExecutorKind::Default => {
                    out.push(Action::Log("the default executor runs task groups only".to_owned()));
                    self.shut_down(now, out);
                }
                ExecutorKind::Command | ExecutorKind::Custom => self.launch_command(now, *task, out),
            },
            AgentEvent::LaunchGroup { tasks } => match self.settings.kind {
                ExecutorKind::Default => self.launch(now, tasks, out),
                ExecutorKind::Command | ExecutorKind::Custom => {
                    for task in tasks {
                        self.refuse(now, task.task_id, "the command executor runs no task groups", out);
                    }
                }
            },
            AgentEvent::Kill { task_id, grace } => self.kill_group_of(now, &task_id, grace, out),
            AgentEvent::Acknowledged { task_id, uuid } => self.acknowledged(&task_id, uuid),
            AgentEvent::Error { message } => {
                out.push(Action::Log(format!("the agent reports an error: {message}")));
                self.shut_down(now, out);
            }
            AgentEvent::Shutdown => self.shut_down(now, out),
            // Only executors that respawn are told to evict.
            AgentEvent::Message { .. }
            | AgentEvent::TaskResized { .. }
            | AgentEvent::Evict { .. }
            | AgentEvent::Heartbeat => {}
        }
    }

    fn launch_command(&mut self, now: Time, task: TaskInfo, out: &mut Vec<Action>) {
        match self.was_used && !self.tasks.contains_key(&task.task_id) {
            true => self.refuse(now, task.task_id, "the command executor runs one task only", out),
            false => self.launch(now, vec![task], out),
        }
    }

    /// Launches tasks that live and die together. One that is there already is not launched again.
    fn launch(&mut self, now: Time, tasks: Vec<TaskInfo>, out: &mut Vec<Action>) {
        self.groups += 1;
        if !self.shutting_down {
            self.leave_at = None;
        }
        let mut added = Vec::new();
        for info in tasks {
            if self.tasks.contains_key(&info.task_id) {
                continue;
            }
            self.was_used = true;
            self.unacknowledged_tasks.insert(info.task_id.clone());
            self.tasks.insert(info.task_id.clone(), Task::new(self.groups, &info));
            self.update(now, &info.task_id, TaskState::Starting, None, None, out);
            added.push(info);
        }
        for info in added {
            self.start(now, info, out);
        }
    }

    fn start(&mut self, now: Time, info: TaskInfo, out: &mut Vec<Action>) {
        // The end of another task of its group may have killed it already.
        let killed = self.shutting_down || self.tasks.get(&info.task_id).is_some_and(Task::is_killed);
        let refusal = match (killed, &info.command) {
            (true, _) => Some((TaskState::Killed, "the task was killed before it was started")),
            (false, None) => Some((TaskState::Failed, "the task has no command")),
            (false, Some(_)) => None,
        };
        match refusal {
            Some((state, why)) => self.end(now, &info.task_id, state, None, why.to_owned(), out),
            None => {
                let framework_user = self.framework_user.clone();
                out.push(Action::Start { task: Box::new(info), framework_user });
            }
        }
    }

    fn refuse(&mut self, now: Time, task_id: TaskId, why: &str, out: &mut Vec<Action>) {
        let status = TaskStatus::new(task_id, TaskState::Failed, Source::Executor, now);
        self.send(TaskStatus { message: Some(why.to_owned()), ..status }, out);
    }

    fn shut_down(&mut self, now: Time, out: &mut Vec<Action>) {
        self.shutting_down = true;
        let leave_at = match self.runs() || !self.unacknowledged.is_empty() {
            true => now + self.settings.shutdown_grace,
            false => now,
        };
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
        let grace = self.settings.shutdown_grace.saturating_sub(LAST_UPDATES);
        let ids: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for task_id in ids {
            self.kill(now, &task_id, Some(grace), out);
        }
    }

    fn acknowledged(&mut self, task_id: &TaskId, uuid: UpdateId) {
        self.unacknowledged.retain(|status| status.uuid != Some(uuid));
        self.unacknowledged_tasks.remove(task_id);
        let waits = self.unacknowledged.iter().any(|status| status.task_id == *task_id);
        // The command executor remembers its one task.
        let is_done = self.tasks.get(task_id).is_some_and(Task::has_ended) && !waits;
        if is_done && self.settings.kind == ExecutorKind::Default {
            self.tasks.shift_remove(task_id);
        }
    }

    fn update(
        &mut self,
        now: Time,
        task_id: &TaskId,
        state: TaskState,
        reason: Option<Reason>,
        message: Option<String>,
        out: &mut Vec<Action>,
    ) {
        let Some(task) = self.tasks.get(task_id) else { return };
        let status = TaskStatus {
            reason,
            message,
            healthy: task.shown_health(state),
            extra: task.extra.clone(),
            ..TaskStatus::new(task_id.clone(), state, Source::Executor, now)
        };
        self.send(status, out);
    }

    /// Keeps an update until it is acknowledged, and sends it.
    fn send(&mut self, mut status: TaskStatus, out: &mut Vec<Action>) {
        status.uuid = Some(self.id_generator.update_id());
        let status = Arc::new(status);
        self.unacknowledged.push(status.clone());
        out.push(Action::Update(status));
    }
}
