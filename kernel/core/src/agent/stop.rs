//! The orderly stop of an agent: tasks get their grace periods, ordinary executors terminate, those that respawn wait for the
//! next start.

use std::time::Duration;

use kernel_model::{
    agent::ToMaster,
    executor::{Event as ExecutorEvent, ExecutorKind},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Reason, TaskState},
    time::Time,
};

use super::{Agent, Effect, Effects, Executor, ExecutorPhase, Timer, executors::TerminalState};

/// The grace period of a task that names none: Kubernetes' default, the longest of those that executors choose.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// What an executor may need after the grace periods of its tasks: for the runtime's calls (5 s), sandboxes (8 s), its runtime
/// (5 s), and what these leave.
pub const STOP_MARGIN: Duration = Duration::from_secs(25);

/// How often the kill of what does not terminate in time is repeated.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// How long a stopped agent waits for schedulers to acknowledge the ends of their tasks. A connected one does so in
/// milliseconds; the updates of another one are sent at the next start.
pub const LAST_ACKNOWLEDGEMENTS: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stopping {
    /// The master's message, if it refused the agent.
    message: Option<String>,
    /// When what still runs is killed.
    deadline: Time,
    phase: StopPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopPhase {
    Executors,
    /// All executors have terminated.
    Acknowledgements,
    Done,
}

/// What a stop waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopProgress {
    /// Unfinished tasks of executors that terminate with the agent.
    pub tasks: Vec<(FrameworkId, TaskId)>,
    /// Executors of such tasks that have none any more.
    pub executors: Vec<(FrameworkId, ExecutorId)>,
    /// The names of unfinished tasks that start again with the agent, while their executor stops them.
    pub resumed: Vec<String>,
    /// When what still runs is killed; `None` if no stop is in progress.
    pub deadline: Option<Time>,
}

impl Agent {
    pub(super) fn stop(&mut self, now: Time, out: &mut Effects) {
        match &self.stopping {
            None => self.begin_stop(now, None, out),
            // A second request: kill now.
            Some(stopping) if stopping.phase == StopPhase::Executors => self.stop_overdue(now, out),
            Some(_) => self.finish_stop(out),
        }
    }

    /// The master refused this agent: everything on it is terminated.
    pub(super) fn rejected_by_master(&mut self, now: Time, message: String, out: &mut Effects) {
        let frameworks: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework_id in frameworks {
            self.end_framework(now, &framework_id, out);
        }
        self.begin_stop(now, Some(message), out);
    }

    fn begin_stop(&mut self, now: Time, message: Option<String>, out: &mut Effects) {
        if self.stopping.is_some() {
            return;
        }
        let all: Vec<(FrameworkId, ExecutorId)> = self
            .frameworks
            .iter()
            .filter(|(_, framework)| !framework.shutting_down)
            .flat_map(|(id, framework)| framework.executors.keys().map(|e| (id.clone(), e.clone())))
            .collect();
        let longest = all.iter().map(|(framework, executor)| self.stop_length(framework, executor)).max();
        let deadline = now + longest.unwrap_or_default() + STOP_MARGIN;
        if message.is_none() && self.is_registered() {
            out.send_to_master(ToMaster::Stopping);
        }
        self.stopping = Some(Stopping { message, deadline, phase: StopPhase::Executors });
        self.timers.arm(Timer::Stop, deadline);
        for (framework_id, executor_id) in all {
            self.stop_executor(now, &framework_id, &executor_id, out);
        }
        self.stop_if_done(now, out);
    }

    fn bounded(&self, grace: Duration) -> Duration {
        self.config.stop_grace_max.map_or(grace, |limit| grace.min(limit))
    }

    /// The longest grace period of an executor's tasks, and its own.
    fn stop_length(&self, framework_id: &FrameworkId, executor_id: &ExecutorId) -> Duration {
        let framework = &self.frameworks[framework_id];
        let info = &framework.executors[executor_id].info;
        let usual = if info.respawns() { DEFAULT_GRACE } else { self.config.executor_shutdown_grace };
        let unfinished = framework.tasks_of(executor_id).filter(|entry| !entry.task.state.is_terminal());
        let tasks = unfinished.map(|entry| entry.grace().unwrap_or(usual)).max().unwrap_or_default();
        let own = info.shutdown_grace.unwrap_or(self.config.executor_shutdown_grace);
        self.bounded(tasks) + self.bounded(own)
    }

    fn stop_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: listed by the caller");
        let executor = framework.executors.get_mut(executor_id).expect("invariant: listed by the caller");
        if executor.info.respawns() {
            self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
            if executor.phase != ExecutorPhase::Waiting {
                out.push(Effect::Terminate { container_id: executor.container_id.clone() });
            }
            return;
        }
        executor.terminal_state.get_or_insert(TerminalState {
            state: TaskState::Killed,
            reason: Reason::ExecutorTerminated,
            message: "The agent was stopped".to_owned(),
            details: Default::default(),
        });
        let busy = |executor: &Executor| executor.phase == ExecutorPhase::Running;
        match executor.connection.filter(|_| busy(executor)) {
            Some(connection) => {
                let usual = self.config.executor_shutdown_grace;
                let mut longest = None;
                for entry in self.frameworks[framework_id].tasks_of(executor_id) {
                    if entry.delivered && !entry.task.state.is_terminal() {
                        let own = entry.grace();
                        let grace = self.bounded(own.unwrap_or(usual));
                        longest = longest.max(Some(grace));
                        // Without a period of the task, the executor's default applies, unless it is too long.
                        let grace = Some(grace).filter(|grace| own.is_some() || *grace < usual);
                        let task_id = entry.task.info.task_id.clone();
                        out.send_to_executor(connection, ExecutorEvent::Kill { task_id, grace });
                    }
                }
                match longest {
                    Some(longest) => {
                        let timer = Timer::Executor(framework_id.clone(), executor_id.clone());
                        self.timers.arm(timer, now + longest);
                    }
                    None => self.end_executor(now, framework_id, executor_id, None, out),
                }
            }
            None => self.end_executor(now, framework_id, executor_id, None, out),
        }
    }

    /// Shuts down an executor whose last task has ended during a stop.
    pub(super) fn stop_idle_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        if self.stopping.is_none() {
            return;
        }
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(executor) = framework.executors.get(executor_id) else { return };
        let idle = framework.unfinished_tasks_of(executor_id).is_empty();
        if idle && executor.phase == ExecutorPhase::Running && !executor.info.respawns() {
            self.end_executor(now, framework_id, executor_id, None, out);
        }
    }

    /// Kills executors that did not terminate in time, and waits no longer for acknowledgements.
    pub(super) fn stop_overdue(&mut self, now: Time, out: &mut Effects) {
        if self.stopping.as_ref().is_some_and(|stopping| stopping.phase == StopPhase::Acknowledgements) {
            return self.finish_stop(out);
        }
        let late: Vec<_> = self.containers.keys().cloned().collect();
        for container_id in late {
            out.push(Effect::Destroy { container_id });
        }
        self.timers.arm(Timer::Stop, now + KILL_AGAIN);
    }

    /// Goes on with a stop once no container is left.
    pub(super) fn stop_if_done(&mut self, now: Time, out: &mut Effects) {
        let Some(stopping) = &mut self.stopping else { return };
        if !self.containers.is_empty() || stopping.phase == StopPhase::Done {
            return;
        }
        let refused = stopping.message.is_some();
        if stopping.phase == StopPhase::Executors {
            stopping.phase = StopPhase::Acknowledgements;
            self.timers.arm(Timer::Stop, now + LAST_ACKNOWLEDGEMENTS);
        }
        if refused || !self.is_registered() || !self.awaits_ends() {
            self.finish_stop(out);
        }
    }

    /// Whether the end of a task is not acknowledged.
    fn awaits_ends(&self) -> bool {
        self.streams.values().any(|stream| stream.latest_state().is_some_and(TaskState::is_terminal))
    }

    fn finish_stop(&mut self, out: &mut Effects) {
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.phase != StopPhase::Done {
            stopping.phase = StopPhase::Done;
            self.timers.disarm(&Timer::Stop);
            out.push(Effect::Stopped { message: stopping.message.clone() });
        }
    }

    /// What an orderly stop waits for, or would wait for.
    pub fn stop_progress(&self) -> StopProgress {
        let deadline = self.stopping.as_ref().map(|stopping| stopping.deadline);
        let mut progress = StopProgress { deadline, ..StopProgress::default() };
        for (framework_id, framework) in &self.frameworks {
            for (executor_id, executor) in &framework.executors {
                if executor.phase == ExecutorPhase::Waiting {
                    continue;
                }
                let tasks = framework.unfinished_tasks_of(executor_id);
                let idle = tasks.is_empty();
                let names = tasks.iter().map(|task_id| framework.tasks[task_id].task.info.name.clone());
                match executor.info.respawns() {
                    true => progress.resumed.extend(names),
                    false => {
                        progress
                            .tasks
                            .extend(tasks.into_iter().map(|task_id| (framework_id.clone(), task_id)));
                    }
                }
                if idle && executor.info.kind != ExecutorKind::Command {
                    progress.executors.push((framework_id.clone(), executor_id.clone()));
                }
            }
        }
        progress
    }
}
