//! The executor API's door: who may say what, and what follows. Upstream's order of things, which executors rely on:
//! updates that were not acknowledged first, then tasks that got lost, then SUBSCRIBED, then launches in order.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::ToMaster,
    executor::{Call, Event as ExecutorEvent, ExecutorKind},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, ConnectionId, Effect, Effects, Phase, Refusal, RequestId, Timer};

/// An executor's name on an agent.
pub(super) type Who = (FrameworkId, ExecutorId);

impl Agent {
    pub(super) fn subscribe(
        &mut self,
        now: Time,
        request: RequestId,
        connection: ConnectionId,
        who: Who,
        (unacknowledged_tasks, unacknowledged_updates): (Vec<TaskId>, Vec<TaskStatus>),
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(&who.0) else {
            return out.reply(request, Err(Refusal::FrameworkUnknown));
        };
        let Some(executor) = framework.executors.get_mut(&who.1) else {
            return out.reply(request, Err(Refusal::ExecutorUnknown));
        };
        out.reply(request, Ok(()));
        if let Some(former) = executor.connection.take() {
            out.act(Effect::Close { connection: former });
        }
        if framework.ending || matches!(executor.phase, Phase::Ending { .. } | Phase::Waiting) {
            out.tell_executor(connection, ExecutorEvent::Shutdown);
            return out.act(Effect::Close { connection });
        }
        let first = !executor.subscribed;
        let again = executor.phase == Phase::Returning;
        executor.connection = Some(connection);
        executor.subscribed = true;
        executor.phase = Phase::Running;
        let (info, respawns, container_id) =
            (executor.info.clone(), executor.info.respawns(), executor.container_id.clone());
        let framework_info = framework.info.clone();
        self.timers.disarm(&Timer::Executor(who.0.clone(), who.1.clone()));
        for status in unacknowledged_updates {
            let key = (who.0.clone(), status.task_id.clone());
            self.update_from_executor(now, &key, status.into(), Some(connection), out);
        }
        if info.kind == ExecutorKind::Command {
            self.repeat_lost_launch(&who, &unacknowledged_tasks);
        } else if !respawns {
            self.drop_lost_launches(now, &who, &unacknowledged_tasks, again, out);
        }
        if first && !respawns && !again && self.never_needed(&who) {
            return self.end_executor(now, &who.0, &who.1, None, out);
        }
        out.tell_executor(
            connection,
            ExecutorEvent::Subscribed {
                executor: info,
                framework: framework_info,
                agent: Arc::new(self.config.info.clone()),
                container_id,
            },
        );
        if respawns {
            self.deliver_all_again(&who);
        }
        self.deliver(&who.0, &who.1, out);
        self.repeat_kills(&who, connection, respawns, out);
    }

    /// Our own executor names every launch that it has had: one that it does not name can be sent again.
    fn repeat_lost_launch(&mut self, who: &Who, unacknowledged: &[TaskId]) {
        let framework = self.frameworks.get_mut(&who.0).expect("the caller found it");
        for entry in framework.tasks.values_mut().filter(|entry| entry.executor_id == who.1) {
            let task = &entry.task;
            if task.state == TaskState::Staging && !unacknowledged.contains(&task.info.task_id) {
                entry.delivered = false;
            }
        }
    }

    /// Tasks that were told to an executor before the agent's restart and that it does not know: they are lost.
    fn drop_lost_launches(
        &mut self,
        now: Time,
        who: &Who,
        unacknowledged: &[TaskId],
        again: bool,
        out: &mut Effects,
    ) {
        let framework = &self.frameworks[&who.0];
        let state = framework.state_for(TaskState::Dropped);
        let lost: Vec<TaskId> = framework
            .tasks_of(&who.1)
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
                executor_id: Some(who.1.clone()),
                ..TaskStatus::new(task_id.clone(), state, Source::Agent, now)
            };
            self.report(now, &(who.0.clone(), task_id), status.into(), out);
        }
    }

    /// All tasks were killed before the executor came up.
    fn never_needed(&self, who: &Who) -> bool {
        let framework = &self.frameworks[&who.0];
        !framework.executors[&who.1].served && framework.unfinished_tasks_of(&who.1).is_empty()
    }

    fn deliver_all_again(&mut self, who: &Who) {
        let framework = self.frameworks.get_mut(&who.0).expect("the caller found it");
        for entry in framework.tasks.values_mut().filter(|entry| entry.executor_id == who.1) {
            entry.delivered = false;
        }
    }

    /// Kills asked for while the executor was away. Those of fresh deliveries went with them.
    fn repeat_kills(&mut self, who: &Who, connection: ConnectionId, respawns: bool, out: &mut Effects) {
        if respawns {
            return;
        }
        for entry in self.frameworks[&who.0].tasks_of(&who.1) {
            if let (Some(grace), false) = (entry.kill, entry.task.state.is_terminal()) {
                let task_id = entry.task.info.task_id.clone();
                out.tell_executor(connection, ExecutorEvent::Kill { task_id, grace });
            }
        }
    }

    pub(super) fn executor_call(
        &mut self,
        now: Time,
        request: RequestId,
        who: Who,
        call: Call,
        out: &mut Effects,
    ) {
        let connection = match self.caller(&who) {
            Err(refusal) => return out.reply(request, Err(refusal)),
            Ok(connection) => connection,
        };
        match call {
            Call::Update { status } => {
                let key = (who.0.clone(), status.task_id.clone());
                let ends = status.state.is_terminal();
                self.update_from_executor(now, &key, status, connection, out);
                if ends {
                    self.limits_changed(&who.0, &who.1, out);
                }
            }
            Call::Message { data } => {
                if self.is_registered() {
                    let (framework_id, executor_id) = who;
                    out.tell_master(ToMaster::Message { framework_id, executor_id, data });
                }
            }
            // A subscription comes as its own event, with its stream; a heartbeat only keeps a connection open.
            Call::Subscribe { .. } | Call::Heartbeat => {}
        }
        out.reply(request, Ok(()));
    }

    fn caller(&self, who: &Who) -> Result<Option<ConnectionId>, Refusal> {
        let framework = self.frameworks.get(&who.0).ok_or(Refusal::FrameworkUnknown)?;
        let executor = framework.executors.get(&who.1).ok_or(Refusal::ExecutorUnknown)?;
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
            out.tell_executor(connection, ExecutorEvent::Message { data });
        }
    }
}
