//! The lives of executors: started, given up on, ended, and, where they ask for it, started again.

use std::time::Duration;

use kernel_model::{
    agent::ToMaster,
    executor::ExecutorKind,
    ids::{ContainerId, ExecutorId, FrameworkId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Effect, Effects, Executor, Phase, Record, Timer};

/// The wait before an executor is started again the first time; doubles up to [`RESPAWN_MAX`].
pub const RESPAWN_MIN: Duration = Duration::from_millis(250);

/// The longest wait before an executor is started again.
pub const RESPAWN_MAX: Duration = Duration::from_secs(30);

/// A run that lasts so long counts as sound: the waits start from the beginning.
pub const SOUND_RUN: Duration = Duration::from_secs(60);

/// How often an executor that was destroyed and has not ended is destroyed again.
const DESTROY_AGAIN: Duration = Duration::from_secs(10);

/// What becomes of the unfinished tasks of an executor that ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self { state: TaskState::Failed, reason, message: message.into() }
    }
}

impl Agent {
    /// An executor's alarm rang: its phase tells what for.
    pub(super) fn executor_timer(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let gone = framework.state_for(TaskState::Gone);
        let Some(executor) = framework.executors.get_mut(executor_id) else { return };
        let respawn = executor.info.respawns();
        match executor.phase {
            Phase::Starting => {
                let reason = Reason::ExecutorRegistrationTimeout;
                executor.verdict =
                    Some(Verdict::failed(reason, "Executor did not register within the timeout"));
                executor.phase = Phase::Ending { respawn };
            }
            Phase::Returning => {
                executor.verdict = Some(Verdict {
                    state: gone,
                    reason: Reason::ExecutorReregistrationTimeout,
                    message: "Executor did not reregister within the timeout".to_owned(),
                });
                executor.phase = Phase::Ending { respawn };
            }
            Phase::Ending { .. } => {}
            Phase::Running => return,
            Phase::Waiting => return self.respawn(now, framework_id, executor_id, out),
        }
        self.destroy(now, framework_id, executor_id, out);
    }

    /// Destroys an executor's container, and again from time to time until it has ended.
    pub(super) fn destroy(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let executor = &self.frameworks[framework_id].executors[executor_id];
        out.act(Effect::Destroy { container_id: executor.container_id.clone() });
        self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + DESTROY_AGAIN);
    }

    /// Starts another run of an executor.
    pub(super) fn respawn(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let container_id = self.fresh.container_id();
        let framework = self.frameworks.get_mut(framework_id).expect("the caller found it");
        let executor = framework.executors.get_mut(executor_id).expect("the caller found it");
        executor.container_id = container_id.clone();
        executor.phase = Phase::Starting;
        executor.subscribed = false;
        executor.started_at = now;
        executor.verdict = None;
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
        let verdict = Verdict::failed(Reason::ContainerLaunchFailed, message);
        self.run_ended(now, container_id, None, Some(verdict), out);
    }

    pub(super) fn container_exited(
        &mut self,
        now: Time,
        container_id: &ContainerId,
        status: i32,
        limitation: Option<(Reason, String)>,
        out: &mut Effects,
    ) {
        let verdict = limitation.map(|(reason, message)| Verdict::failed(reason, message));
        self.run_ended(now, container_id, Some(status), verdict, out);
    }

    /// A container is gone. Either its executor is started again, or its tasks are over.
    fn run_ended(
        &mut self,
        now: Time,
        container_id: &ContainerId,
        status: Option<i32>,
        cause: Option<Verdict>,
        out: &mut Effects,
    ) {
        let Some((framework_id, executor_id)) = self.containers.remove(container_id) else { return };
        let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
        let busy = !framework.unfinished_tasks_of(&executor_id).is_empty();
        let ending = framework.ending;
        let Some(executor) = framework.executors.get_mut(&executor_id) else { return };
        self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
        if let Some(connection) = executor.connection.take() {
            out.act(Effect::Close { connection });
        }
        // An idle executor that ends well has bowed out.
        let wanted = busy || status != Some(0);
        if self.stopping.is_some() && executor.info.respawns() && !ending {
            executor.phase = Phase::Waiting;
            executor.subscribed = false;
            return self.stop_if_done(out);
        }
        if executor.respawns_now() && wanted && !ending {
            return self.wait_to_respawn(now, &framework_id, &executor_id);
        }
        let verdict = executor.verdict.take().or(cause);
        let status = status.unwrap_or(0);
        self.remove_executor(now, &framework_id, &executor_id, status, verdict, out);
    }

    /// Sets the alarm for the executor's next run.
    pub(super) fn wait_to_respawn(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("the caller found it");
        let executor = framework.executors.get_mut(executor_id).expect("the caller found it");
        let sound = executor.subscribed && now.since(executor.started_at) >= SOUND_RUN;
        executor.failures = if sound { 0 } else { executor.failures.saturating_add(1) };
        executor.phase = Phase::Waiting;
        executor.subscribed = false;
        executor.verdict = None;
        let wait =
            (RESPAWN_MIN * 2u32.saturating_pow(executor.failures.saturating_sub(1).min(10))).min(RESPAWN_MAX);
        self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + wait);
    }

    /// An executor is gone for good: its unfinished tasks are over, and the master is told.
    pub(super) fn remove_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        status: i32,
        verdict: Option<Verdict>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(executor) = framework.executors.remove(executor_id) else { return };
        let checkpoint = framework.info.checkpoint;
        let ending = framework.ending;
        let verdict =
            verdict.unwrap_or_else(|| Verdict::failed(Reason::ExecutorTerminated, "Executor terminated"));
        let unfinished = framework.unfinished_tasks_of(executor_id);
        if !ending {
            for task_id in unfinished {
                let status = TaskStatus {
                    reason: Some(verdict.reason),
                    message: Some(verdict.message.clone()),
                    executor_id: Some(executor_id.clone()),
                    ..TaskStatus::new(task_id.clone(), verdict.state, Source::Agent, now)
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
        if executor.info.kind != ExecutorKind::Command && self.is_registered() {
            out.tell_master(ToMaster::ExitedExecutor {
                framework_id: framework_id.clone(),
                executor_id: executor_id.clone(),
                status,
            });
        }
        if ending {
            self.drop_framework_if_over(framework_id, out);
        } else {
            self.forget_framework_if_idle(framework_id, out);
        }
        self.stop_if_done(out);
    }
}

impl Executor {
    /// Whether the end of the present run is followed by another.
    fn respawns_now(&self) -> bool {
        self.info.respawns() && self.phase != (Phase::Ending { respawn: false })
    }
}
