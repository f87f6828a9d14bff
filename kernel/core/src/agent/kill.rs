//! Kills of tasks, and ends of executors and frameworks that somebody asked for.

use std::time::Duration;

use kernel_model::{
    executor::Event as ExecutorEvent,
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Effects, Phase, Record, Timer, executors::Verdict};

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
        if framework.ending {
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
            out.tell_executor(connection, ExecutorEvent::Kill { task_id: task_id.clone(), grace });
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

    /// Kills a launch, the whole of its group, that no executor has been told of.
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
        if !executor.served && framework.unfinished_tasks_of(executor_id).is_empty() {
            self.end_executor(now, framework_id, executor_id, None, out);
        } else {
            self.limits_changed(framework_id, executor_id, out);
        }
    }

    /// Ends an executor: politely if it listens, at once if it does not.
    pub(super) fn end_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        verdict: Option<Verdict>,
        out: &mut Effects,
    ) {
        let default_grace = self.config.executor_shutdown_grace;
        let framework = self.frameworks.get_mut(framework_id);
        let Some(executor) = framework.and_then(|f| f.executors.get_mut(executor_id)) else { return };
        if let Some(verdict) = verdict {
            executor.verdict.get_or_insert(verdict);
        }
        match executor.phase {
            Phase::Ending { respawn: false } => return,
            Phase::Waiting => {
                let verdict = executor.verdict.take();
                self.timers.disarm(&Timer::Executor(framework_id.clone(), executor_id.clone()));
                return self.remove_executor(now, framework_id, executor_id, 0, verdict, out);
            }
            _ => executor.phase = Phase::Ending { respawn: false },
        }
        match executor.connection {
            Some(connection) => {
                let grace = executor.info.shutdown_grace.unwrap_or(default_grace);
                out.tell_executor(connection, ExecutorEvent::Shutdown);
                self.timers.arm(Timer::Executor(framework_id.clone(), executor_id.clone()), now + grace);
            }
            None => self.destroy(now, framework_id, executor_id, out),
        }
    }

    /// The master ended the framework: nobody waits for its updates any more.
    pub(super) fn end_framework(&mut self, now: Time, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        framework.ending = true;
        let executors: Vec<ExecutorId> = framework.executors.keys().cloned().collect();
        for executor_id in executors {
            self.end_executor(now, framework_id, &executor_id, None, out);
        }
        self.drop_framework_if_over(framework_id, out);
    }

    /// Forgets an ended framework, updates and all, once its last executor has ended.
    pub(super) fn drop_framework_if_over(&mut self, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        if !framework.ending || !framework.executors.is_empty() {
            return;
        }
        if framework.info.checkpoint {
            out.persist(Record::FrameworkRemoved { framework_id: framework_id.clone() });
        }
        self.frameworks.remove(framework_id);
        let streams: Vec<_> = self.streams.keys().filter(|(of, _)| of == framework_id).cloned().collect();
        for key in streams {
            self.streams.remove(&key);
            self.timers.disarm(&Timer::Update(key));
        }
    }
}
