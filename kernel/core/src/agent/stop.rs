//! The orderly end of an agent: everything on it ends first, or waits for its next start.

use std::time::Duration;

use kernel_model::{
    executor::ExecutorKind,
    ids::{ExecutorId, FrameworkId},
    task::{Reason, TaskState},
    time::Time,
};

use super::{Agent, Effect, Effects, Phase, Timer, executors::Verdict};

/// How long executors may take to end when the agent stops; kubelets grant pods 30 s.
pub const STOP_GRACE: Duration = Duration::from_secs(40);

/// A stop that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stopping {
    /// The master's words, where it was the master that ended the agent.
    message: Option<String>,
    done: bool,
}

impl Agent {
    pub(super) fn stop(&mut self, now: Time, out: &mut Effects) {
        match &self.stopping {
            None => self.begin_stop(now, None, out),
            // Asked again: nobody wants to wait any longer.
            Some(stopping) if !stopping.done => self.stop_overdue(now, out),
            Some(_) => {}
        }
    }

    /// The master does not want this agent: nothing may go on running here.
    pub(super) fn refused(&mut self, now: Time, message: String, out: &mut Effects) {
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
        self.stopping = Some(Stopping { message, done: false });
        self.timers.arm(Timer::Stop, now + STOP_GRACE);
        let all: Vec<(FrameworkId, ExecutorId)> = self
            .frameworks
            .iter()
            .filter(|(_, framework)| !framework.ending)
            .flat_map(|(id, framework)| framework.executors.keys().map(|e| (id.clone(), e.clone())))
            .collect();
        for (framework_id, executor_id) in all {
            self.stop_executor(now, &framework_id, &executor_id, out);
        }
        self.stop_if_done(out);
    }

    fn stop_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let executor = &self.frameworks[framework_id].executors[executor_id];
        if !executor.info.respawns() {
            let verdict = Verdict {
                state: TaskState::Killed,
                reason: Reason::ExecutorTerminated,
                message: "The agent was stopped".to_owned(),
            };
            return self.end_executor(now, framework_id, executor_id, Some(verdict), out);
        }
        self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
        if executor.phase != Phase::Waiting {
            out.act(Effect::Terminate { container_id: executor.container_id.clone() });
        }
    }

    /// Some executor does not end.
    pub(super) fn stop_overdue(&mut self, now: Time, out: &mut Effects) {
        let late: Vec<_> = self.containers.keys().cloned().collect();
        for container_id in late {
            out.act(Effect::Destroy { container_id });
        }
        self.timers.arm(Timer::Stop, now + STOP_GRACE);
    }

    pub(super) fn stop_if_done(&mut self, out: &mut Effects) {
        let Some(stopping) = &mut self.stopping else { return };
        if !stopping.done && self.containers.is_empty() {
            stopping.done = true;
            self.timers.disarm(&Timer::Stop);
            out.act(Effect::Stopped { message: stopping.message.clone() });
        }
    }

    /// How many executors an orderly stop still waits for, for people who watch it.
    pub fn still_running(&self) -> (usize, usize) {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let running = executors.filter(|executor| executor.phase != Phase::Waiting);
        running.fold((0, 0), |(command, custom), executor| match executor.info.kind {
            ExecutorKind::Command => (command + 1, custom),
            _ => (command, custom + 1),
        })
    }
}
