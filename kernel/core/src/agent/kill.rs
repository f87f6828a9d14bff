//! Kills of tasks, and requested shutdowns of executors and frameworks.

use std::time::Duration;

use kernel_model::{
    executor::Event as ExecutorEvent,
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Effects, ExecutorPhase, Record, Timer, executors::TerminalState};

impl Agent {
    pub(super) fn kill_task(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        grace: Option<Duration>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        if framework.shutting_down {
            return;
        }
        let checkpoint = framework.info.checkpoint;
        let Some(entry) = framework.tasks.get_mut(task_id) else {
            return self.kill_unknown(now, framework_id, task_id, out);
        };
        if entry.task.state.is_terminal() {
            return;
        }
        let executor_id = entry.executor_id.clone();
        if !entry.delivered {
            let launch = entry.launch;
            return self.kill_undelivered(now, framework_id, &executor_id, launch, out);
        }
        if entry.kill != Some(grace) {
            entry.kill = Some(grace);
            if checkpoint {
                let (framework_id, task_id) = (framework_id.clone(), task_id.clone());
                out.persist(Record::Kill { framework_id, task_id, grace });
            }
        }
        let connection = framework.executors.get(&executor_id).and_then(|executor| executor.connection);
        if let Some(connection) = connection {
            out.send_to_executor(connection, ExecutorEvent::Kill { task_id: task_id.clone(), grace });
        }
    }

    fn kill_unknown(&mut self, now: Time, framework_id: &FrameworkId, task_id: &TaskId, out: &mut Effects) {
        let key = (framework_id.clone(), task_id.clone());
        if self.streams.contains_key(&key) {
            return;
        }
        let state = self.frameworks[framework_id].state_for(TaskState::Dropped);
        let status = TaskStatus {
            reason: Some(Reason::ExecutorTerminated),
            message: Some("Cannot find executor".to_owned()),
            ..TaskStatus::new(task_id.clone(), state, Source::Agent, now)
        };
        self.report(now, &key, status.into(), out);
    }

    /// Kills a launch (all of its group) that was not delivered to an executor.
    fn kill_undelivered(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        launch: u64,
        out: &mut Effects,
    ) {
        let framework = &self.frameworks[framework_id];
        let killed: Vec<TaskId> = framework
            .tasks_of(executor_id)
            .filter(|entry| entry.launch == launch)
            .map(|entry| entry.task.info.task_id.clone())
            .collect();
        for task_id in killed {
            let status = TaskStatus {
                reason: Some(Reason::TaskKilledDuringLaunch),
                message: Some("Killed before delivery to the executor".to_owned()),
                ..TaskStatus::new(task_id.clone(), TaskState::Killed, Source::Agent, now)
            };
            self.report(now, &(framework_id.clone(), task_id), status.into(), out);
        }
        let framework = &self.frameworks[framework_id];
        let Some(executor) = framework.executors.get(executor_id) else { return };
        if !executor.received_task && framework.unfinished_tasks_of(executor_id).is_empty() {
            self.end_executor(now, framework_id, executor_id, None, out);
        } else {
            self.limits_changed(framework_id, executor_id, out);
        }
    }

    /// Shuts down an executor: with SHUTDOWN if it is subscribed, otherwise by destroying its container.
    pub(super) fn end_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        terminal_state: Option<TerminalState>,
        out: &mut Effects,
    ) {
        let default_grace = self.config.executor_shutdown_grace;
        let limit = self.config.stop_grace_max.filter(|_| self.stopping.is_some());
        let framework = self.frameworks.get_mut(framework_id);
        let Some(executor) = framework.and_then(|f| f.executors.get_mut(executor_id)) else { return };
        if let Some(terminal_state) = terminal_state {
            executor.terminal_state.get_or_insert(terminal_state);
        }
        match executor.phase {
            ExecutorPhase::Terminating { respawn: false } => return,
            ExecutorPhase::Waiting => {
                let terminal_state = executor.terminal_state.take();
                self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
                return self.remove_executor(now, framework_id, executor_id, 0, terminal_state, out);
            }
            _ => executor.phase = ExecutorPhase::Terminating { respawn: false },
        }
        match executor.connection {
            Some(connection) => {
                let grace = executor.info.shutdown_grace.unwrap_or(default_grace);
                let grace = limit.map_or(grace, |limit| grace.min(limit));
                out.send_to_executor(connection, ExecutorEvent::Shutdown);
                self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + grace);
            }
            None => self.destroy(now, framework_id, executor_id, out),
        }
    }

    /// The master terminated the framework: nobody acknowledges its updates any more.
    pub(super) fn end_framework(&mut self, now: Time, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        framework.shutting_down = true;
        let executors: Vec<ExecutorId> = framework.executors.keys().cloned().collect();
        for executor_id in executors {
            self.end_executor(now, framework_id, &executor_id, None, out);
        }
        self.remove_framework_if_terminated(framework_id, out);
    }

    /// Removes a terminated framework with its updates, once its last executor has terminated.
    pub(super) fn remove_framework_if_terminated(&mut self, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        if !framework.shutting_down || !framework.executors.is_empty() {
            return;
        }
        if framework.info.checkpoint {
            out.persist(Record::FrameworkRemoved { framework_id: framework_id.clone() });
        }
        self.forget_framework(framework_id);
        let streams: Vec<_> = self.streams.keys().filter(|(of, _)| of == framework_id).cloned().collect();
        for key in streams {
            self.streams.remove(&key);
            self.timers.disarm(&Timer::Update(key));
        }
    }
}
