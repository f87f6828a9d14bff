//! The executor API. The order of events is upstream's, which executors rely on: unacknowledged updates, lost tasks,
//! SUBSCRIBED, launches.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::ToMaster,
    executor::{Call, Event as ExecutorEvent, ExecutorKind},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, ConnectionId, Effect, Effects, ExecutorPhase, Refusal, RequestId, Timer};

/// An executor's key on an agent.
pub(super) type ExecutorKey = (FrameworkId, ExecutorId);

impl Agent {
    pub(super) fn subscribe(
        &mut self,
        now: Time,
        request: RequestId,
        connection: ConnectionId,
        key: ExecutorKey,
        (unacknowledged_tasks, unacknowledged_updates): (Vec<TaskId>, Vec<TaskStatus>),
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(&key.0) else {
            return out.reply(request, Err(Refusal::FrameworkUnknown));
        };
        let Some(executor) = framework.executors.get_mut(&key.1) else {
            return out.reply(request, Err(Refusal::ExecutorUnknown));
        };
        out.reply(request, Ok(()));
        if let Some(former) = executor.connection.take() {
            out.push(Effect::Close { connection: former });
        }
        if framework.shutting_down
            || matches!(executor.phase, ExecutorPhase::Terminating { .. } | ExecutorPhase::Waiting)
        {
            out.send_to_executor(connection, ExecutorEvent::Shutdown);
            return out.push(Effect::Close { connection });
        }
        let first = !executor.subscribed;
        let again = executor.phase == ExecutorPhase::Returning;
        executor.connection = Some(connection);
        executor.subscribed = true;
        executor.phase = ExecutorPhase::Running;
        let (info, respawns, container_id) =
            (executor.info.clone(), executor.info.respawns(), executor.container_id.clone());
        let framework_info = framework.info.clone();
        self.timers.disarm(&Timer::Executor(key.0.clone(), key.1.clone()));
        for status in unacknowledged_updates {
            let task_key = (key.0.clone(), status.task_id.clone());
            self.update_from_executor(now, &task_key, status.into(), Some(connection), out);
        }
        if info.kind == ExecutorKind::Command {
            self.redeliver_lost_launch(&key, &unacknowledged_tasks);
        } else if !respawns {
            self.drop_lost_launches(now, &key, &unacknowledged_tasks, again, out);
        }
        if first && !respawns && !again && self.is_unneeded(&key) {
            return self.end_executor(now, &key.0, &key.1, None, out);
        }
        out.send_to_executor(
            connection,
            ExecutorEvent::Subscribed {
                executor: info,
                framework: framework_info,
                agent: Arc::new(self.config.info.clone()),
                container_id,
            },
        );
        if respawns {
            self.redeliver_all(&key);
        }
        self.deliver(&key.0, &key.1, out);
        self.repeat_kills(&key, connection, respawns, out);
    }

    /// The built-in executor reports every launch that it received: others can be sent again.
    fn redeliver_lost_launch(&mut self, key: &ExecutorKey, unacknowledged: &[TaskId]) {
        let framework = self.frameworks.get_mut(&key.0).expect("invariant: looked up by the caller");
        for entry in framework.tasks.values_mut().filter(|entry| entry.executor_id == key.1) {
            let task = &entry.task;
            if task.state == TaskState::Staging && !unacknowledged.contains(&task.info.task_id) {
                entry.delivered = false;
            }
        }
    }

    /// Tasks that were delivered before the agent's restart and that the executor does not know: they are lost.
    fn drop_lost_launches(
        &mut self,
        now: Time,
        key: &ExecutorKey,
        unacknowledged: &[TaskId],
        again: bool,
        out: &mut Effects,
    ) {
        let framework = &self.frameworks[&key.0];
        let state = framework.state_for(TaskState::Dropped);
        let lost: Vec<TaskId> = framework
            .tasks_of(&key.1)
            .filter(|entry| entry.delivered && entry.task.state == TaskState::Staging)
            .map(|entry| entry.task.info.task_id.clone())
            .filter(|task_id| !unacknowledged.contains(task_id))
            .collect();
        for task_id in lost {
            let message = match again {
                true => "Task launched during agent restart",
                false => "Task was lost while the executor was disconnected",
            };
            let status = TaskStatus {
                reason: Some(Reason::AgentRestarted),
                message: Some(message.to_owned()),
                executor_id: Some(key.1.clone()),
                ..TaskStatus::new(task_id.clone(), state, Source::Agent, now)
            };
            self.report(now, &(key.0.clone(), task_id), status.into(), out);
        }
    }

    /// Whether all tasks were killed before the executor subscribed.
    fn is_unneeded(&self, key: &ExecutorKey) -> bool {
        let framework = &self.frameworks[&key.0];
        !framework.executors[&key.1].received_task && framework.unfinished_tasks_of(&key.1).is_empty()
    }

    fn redeliver_all(&mut self, key: &ExecutorKey) {
        let framework = self.frameworks.get_mut(&key.0).expect("invariant: looked up by the caller");
        for entry in framework.tasks.values_mut().filter(|entry| entry.executor_id == key.1) {
            entry.delivered = false;
        }
    }

    /// Repeats kills that were requested while the executor was disconnected. Those of pending launches are sent with
    /// the launch.
    fn repeat_kills(
        &mut self,
        key: &ExecutorKey,
        connection: ConnectionId,
        respawns: bool,
        out: &mut Effects,
    ) {
        if respawns {
            return;
        }
        for entry in self.frameworks[&key.0].tasks_of(&key.1) {
            if let (Some(grace), false) = (entry.kill, entry.task.state.is_terminal()) {
                let task_id = entry.task.info.task_id.clone();
                out.send_to_executor(connection, ExecutorEvent::Kill { task_id, grace });
            }
        }
    }

    pub(super) fn executor_call(
        &mut self,
        now: Time,
        request: RequestId,
        key: ExecutorKey,
        call: Call,
        out: &mut Effects,
    ) {
        let connection = match self.caller(&key) {
            Err(refusal) => {
                self.counts.refused_updates += u64::from(matches!(call, Call::Update { .. }));
                return out.reply(request, Err(refusal));
            }
            Ok(connection) => connection,
        };
        match call {
            Call::Update { status } => {
                let task_key = (key.0.clone(), status.task_id.clone());
                let ends = status.state.is_terminal();
                self.update_from_executor(now, &task_key, status, connection, out);
                if ends {
                    self.limits_changed(&key.0, &key.1, out);
                    self.stop_idle_executor(now, &key.0, &key.1, out);
                }
            }
            Call::Message { data } => {
                if self.is_registered() {
                    let (framework_id, executor_id) = key;
                    out.send_to_master(ToMaster::Message { framework_id, executor_id, data });
                }
            }
            Call::ResizeTask { task_id, amounts } => self.resize_task(&key, &task_id, &amounts, out),
            // SUBSCRIBE is a separate event with its stream; a heartbeat only keeps the connection open.
            Call::Subscribe { .. } | Call::Heartbeat => {}
        }
        out.reply(request, Ok(()));
    }

    fn caller(&self, key: &ExecutorKey) -> Result<Option<ConnectionId>, Refusal> {
        let framework = self.frameworks.get(&key.0).ok_or(Refusal::FrameworkUnknown)?;
        let executor = framework.executors.get(&key.1).ok_or(Refusal::ExecutorUnknown)?;
        if !executor.subscribed {
            return Err(Refusal::NotSubscribed);
        }
        Ok(executor.connection)
    }

    pub(super) fn executor_disconnected(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        connection: ConnectionId,
    ) {
        let framework = self.frameworks.get_mut(framework_id);
        if let Some(executor) = framework.and_then(|f| f.executors.get_mut(executor_id))
            && executor.connection == Some(connection)
        {
            executor.connection = None;
        }
    }

    pub(super) fn message_to_executor(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        data: Bytes,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get(framework_id);
        let executor = framework.and_then(|f| f.executors.get(executor_id));
        if let Some(connection) = executor.and_then(|executor| executor.connection) {
            self.counts.framework_messages += 1;
            out.send_to_executor(connection, ExecutorEvent::Message { data });
        } else {
            self.counts.dropped_framework_messages += 1;
        }
    }
}
