//! The orderly stop of an agent: ordinary executors terminate, those that respawn wait for the next start.

use std::time::Duration;

use kernel_model::{
    executor::ExecutorKind,
    ids::{ExecutorId, FrameworkId},
    task::{Reason, TaskState},
    time::Time,
};

use super::{Agent, Effect, Effects, ExecutorPhase, Timer, executors::TerminalState};

/// How long executors have to terminate when the agent stops; kubelets grant Pods 30 s.
pub const STOP_GRACE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stopping {
    /// The master's message, if it refused the agent.
    message: Option<String>,
    done: bool,
}

impl Agent {
    pub(super) fn stop(&mut self, now: Time, out: &mut Effects) {
        match &self.stopping {
            None => self.begin_stop(now, None, out),
            // A second request: kill now.
            Some(stopping) if !stopping.done => self.stop_overdue(now, out),
            Some(_) => {}
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
        self.stopping = Some(Stopping { message, done: false });
        self.timers.arm(Timer::Stop, now + STOP_GRACE);
        let all: Vec<(FrameworkId, ExecutorId)> = self
            .frameworks
            .iter()
            .filter(|(_, framework)| !framework.shutting_down)
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
            let terminal_state = TerminalState {
                state: TaskState::Killed,
                reason: Reason::ExecutorTerminated,
                message: "The agent was stopped".to_owned(),
            };
            return self.end_executor(now, framework_id, executor_id, Some(terminal_state), out);
        }
        self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
        if executor.phase != ExecutorPhase::Waiting {
            out.push(Effect::Terminate { container_id: executor.container_id.clone() });
        }
    }

    /// Kills executors that did not terminate in time.
    pub(super) fn stop_overdue(&mut self, now: Time, out: &mut Effects) {
        let late: Vec<_> = self.containers.keys().cloned().collect();
        for container_id in late {
            out.push(Effect::Destroy { container_id });
        }
        self.timers.arm(Timer::Stop, now + STOP_GRACE);
    }

    pub(super) fn stop_if_done(&mut self, out: &mut Effects) {
        let Some(stopping) = &mut self.stopping else { return };
        if !stopping.done && self.containers.is_empty() {
            stopping.done = true;
            self.timers.disarm(&Timer::Stop);
            out.push(Effect::Stopped { message: stopping.message.clone() });
        }
    }

    /// How many executors an orderly stop waits for: built-in ones and others.
    pub fn still_running(&self) -> (usize, usize) {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        let running = executors.filter(|executor| executor.phase != ExecutorPhase::Waiting);
        running.fold((0, 0), |(command, custom), executor| match executor.info.kind {
            ExecutorKind::Command => (command + 1, custom),
            _ => (command, custom + 1),
        })
    }
}
