//! The life cycle of executors: start, timeouts, termination and, for those that respawn, the next run.

use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    agent::ToMaster,
    executor::ExecutorKind,
    ids::{ContainerId, ExecutorId, FrameworkId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Effect, Effects, Executor, ExecutorPhase, Limitation, LinkState, Record, Timer};

/// The back-off before an executor's next run; it doubles up to [`RESPAWN_MAX`].
pub const RESPAWN_MIN: Duration = Duration::from_millis(250);

/// The longest back-off before an executor's next run.
pub const RESPAWN_MAX: Duration = Duration::from_secs(30);

/// A run of at least this length resets the back-off.
pub const SOUND_RUN: Duration = Duration::from_secs(60);

/// How often the kill of a container that does not terminate is repeated.
const DESTROY_AGAIN: Duration = Duration::from_secs(10);

/// The terminal state of the unfinished tasks of an executor that terminates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TerminalState {
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Encoded fields of the status that the kernel does not interpret.
    pub(super) details: Bytes,
}

impl TerminalState {
    pub(super) fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self { state: TaskState::Failed, reason, message: message.into(), details: Bytes::new() }
    }
}

impl Agent {
    /// An executor's timer fired; the phase says what for.
    pub(super) fn executor_timer(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let stopping = self.stopping.is_some();
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let gone = framework.state_for(TaskState::Gone);
        let Some(executor) = framework.executors.get_mut(executor_id) else { return };
        let respawn = executor.info.respawns();
        match executor.phase {
            ExecutorPhase::Starting => {
                let reason = Reason::ExecutorRegistrationTimeout;
                executor.terminal_state =
                    Some(TerminalState::failed(reason, "Executor did not register within the timeout"));
                executor.phase = ExecutorPhase::Terminating { respawn };
            }
            ExecutorPhase::Returning => {
                executor.terminal_state = Some(TerminalState {
                    state: gone,
                    reason: Reason::ExecutorReregistrationTimeout,
                    message: "Executor did not reregister within the timeout".to_owned(),
                    details: Bytes::new(),
                });
                executor.phase = ExecutorPhase::Terminating { respawn };
            }
            ExecutorPhase::Terminating { .. } => {}
            // The grace periods of its tasks have ended.
            ExecutorPhase::Running if stopping => {
                return self.end_executor(now, framework_id, executor_id, None, out);
            }
            ExecutorPhase::Running => return,
            ExecutorPhase::Waiting => return self.respawn(now, framework_id, executor_id, out),
        }
        self.destroy(now, framework_id, executor_id, out);
    }

    /// Destroys an executor's container, and repeats that until it has terminated.
    pub(super) fn destroy(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let executor = &self.frameworks[framework_id].executors[executor_id];
        out.push(Effect::Destroy { container_id: executor.container_id.clone() });
        self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + DESTROY_AGAIN);
    }

    /// Starts the next run of an executor.
    pub(super) fn respawn(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let container_id = self.id_generator.container_id();
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: looked up by the caller");
        let executor = framework.executors.get_mut(executor_id).expect("invariant: looked up by the caller");
        executor.container_id = container_id.clone();
        executor.phase = ExecutorPhase::Starting;
        executor.subscribed = false;
        executor.started_at = now;
        executor.terminal_state = None;
        if framework.info.checkpoint {
            out.persist(Record::Executor {
                framework_id: framework_id.clone(),
                executor: executor.info.clone(),
                container_id,
                at: now,
            });
        }
        self.start_executor(now, framework_id, executor_id, out);
    }

    pub(super) fn start_failed(
        &mut self,
        now: Time,
        container_id: &ContainerId,
        message: String,
        out: &mut Effects,
    ) {
        self.counts.launch_errors += 1;
        let terminal_state = TerminalState::failed(Reason::ContainerLaunchFailed, message);
        self.run_ended(now, container_id, None, Some(terminal_state), out);
    }

    pub(super) fn container_exited(
        &mut self,
        now: Time,
        container_id: &ContainerId,
        status: i32,
        limitation: Option<Limitation>,
        out: &mut Effects,
    ) {
        let executor = |(framework, executor): &(FrameworkId, ExecutorId)| {
            self.frameworks.get(framework)?.executors.get(executor)
        };
        let limitation =
            limitation.map(|limitation| match self.containers.get(container_id).and_then(executor) {
                Some(executor) => limitation.of_executor(&executor.info),
                None => limitation,
            });
        let terminal_state = limitation.map(|Limitation { reason, message, details }| TerminalState {
            details,
            ..TerminalState::failed(reason, message)
        });
        self.run_ended(now, container_id, Some(status), terminal_state, out);
    }

    /// A container terminated: its executor respawns, or its tasks terminate.
    fn run_ended(
        &mut self,
        now: Time,
        container_id: &ContainerId,
        status: Option<i32>,
        cause: Option<TerminalState>,
        out: &mut Effects,
    ) {
        let Some((framework_id, executor_id)) = self.containers.remove(container_id) else { return };
        let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
        let busy = !framework.unfinished_tasks_of(&executor_id).is_empty();
        let shutting_down = framework.shutting_down;
        let Some(executor) = framework.executors.get_mut(&executor_id) else { return };
        self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
        if let Some(connection) = executor.connection.take() {
            out.push(Effect::Close { connection });
        }
        // An idle executor that exits with 0 needs no further run.
        let wanted = busy || status != Some(0);
        if self.stopping.is_some() && executor.info.respawns() && !shutting_down {
            executor.phase = ExecutorPhase::Waiting;
            executor.subscribed = false;
            return self.stop_if_done(now, out);
        }
        if executor.respawns_now() && wanted && !shutting_down {
            return self.wait_to_respawn(now, &framework_id, &executor_id);
        }
        let terminal_state = executor.terminal_state.take().or(cause);
        let status = status.unwrap_or(0);
        self.remove_executor(now, &framework_id, &executor_id, status, terminal_state, out);
    }

    /// Sets the timer of the executor's next run.
    pub(super) fn wait_to_respawn(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: looked up by the caller");
        let executor = framework.executors.get_mut(executor_id).expect("invariant: looked up by the caller");
        let sound = executor.subscribed && now.since(executor.started_at) >= SOUND_RUN;
        executor.failures = if sound { 0 } else { executor.failures.saturating_add(1) };
        executor.phase = ExecutorPhase::Waiting;
        executor.subscribed = false;
        executor.terminal_state = None;
        let wait =
            (RESPAWN_MIN * 2u32.saturating_pow(executor.failures.saturating_sub(1).min(10))).min(RESPAWN_MAX);
        self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + wait);
    }

    /// An executor terminated and does not respawn: its unfinished tasks terminate, and the master is told.
    pub(super) fn remove_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        status: i32,
        terminal_state: Option<TerminalState>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(executor) = framework.executors.remove(executor_id) else { return };
        let checkpoint = framework.info.checkpoint;
        let shutting_down = framework.shutting_down;
        let terminal_state = terminal_state
            .unwrap_or_else(|| TerminalState::failed(Reason::ExecutorTerminated, "Executor terminated"));
        let unfinished = framework.unfinished_tasks_of(executor_id);
        self.counts.terminated_executors += 1;
        let is_custom = executor.info.kind != ExecutorKind::Command;
        framework.remember_executor(*executor);
        if !shutting_down {
            for task_id in unfinished {
                let status = TaskStatus {
                    reason: Some(terminal_state.reason),
                    message: Some(terminal_state.message.clone()),
                    executor_id: Some(executor_id.clone()),
                    extra: terminal_state.details.clone(),
                    ..TaskStatus::new(task_id.clone(), terminal_state.state, Source::Agent, now)
                };
                self.report(now, &(framework_id.clone(), task_id), status.into(), out);
            }
        }
        if checkpoint {
            out.persist(Record::ExecutorRemoved {
                framework_id: framework_id.clone(),
                executor_id: executor_id.clone(),
            });
        }
        // Also while the registration is not answered: what it has said of the executor is over.
        if is_custom && self.link != LinkState::Down {
            out.send_to_master(ToMaster::ExitedExecutor {
                framework_id: framework_id.clone(),
                executor_id: executor_id.clone(),
                status,
            });
        }
        if shutting_down {
            self.remove_framework_if_terminated(framework_id, out);
        } else {
            self.remove_framework_if_idle(framework_id, out);
        }
        self.stop_if_done(now, out);
    }
}

impl Executor {
    /// Whether another run follows the current one.
    fn respawns_now(&self) -> bool {
        self.info.respawns() && self.phase != (ExecutorPhase::Terminating { respawn: false })
    }
}
