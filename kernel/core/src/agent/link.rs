//! The link to the master: registration with back-off, re-registration with all tasks and executors, and detection of a
//! silent master.

use std::{sync::Arc, time::Duration};

use kernel_model::{
    agent::ToMaster,
    executor::ExecutorKind,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId, TaskId},
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Effect, Effects, REGISTRATION_BACKOFF_MAX, Record, Timer, launch::with_checkpoint};

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Down,
    /// Up; not registered yet.
    Registering {
        backoff: Duration,
    },
    Registered {
        /// The link is dropped after this time without a message; zero means never.
        silence_max: Duration,
        /// When the last message came.
        last_message_at: Time,
    },
}

impl Agent {
    pub(super) fn link_up(&mut self, now: Time, out: &mut Effects) {
        self.link_down();
        self.link = LinkState::Registering { backoff: self.config.registration_backoff };
        self.register_again(now, out);
    }

    pub(super) fn link_down(&mut self) {
        self.link = LinkState::Down;
        self.timers.disarm(&Timer::Register);
        self.pause_updates();
        self.pause_operations();
    }

    /// Sends the registration, and sets the timer of the next attempt.
    pub(super) fn register_again(&mut self, now: Time, out: &mut Effects) {
        let LinkState::Registering { backoff } = self.link else { return };
        out.send_to_master(self.registration());
        let wait = self.id_generator.jittered(backoff);
        self.timers.arm(Timer::Register, now + wait);
        self.link = LinkState::Registering { backoff: (backoff * 2).min(REGISTRATION_BACKOFF_MAX) };
    }

    fn registration(&self) -> ToMaster {
        let info = self.config.info.clone();
        if info.id.is_none() {
            return ToMaster::Register { info: info.into() };
        }
        let mut frameworks = Vec::with_capacity(self.frameworks.len());
        let mut executors = Vec::new();
        let mut tasks = Vec::new();
        for (framework_id, framework) in &self.frameworks {
            frameworks.push(framework.info.clone());
            // The master has no record of built-in executors: each is part of its task.
            let listed = framework.executors.values().filter(|e| e.info.kind != ExecutorKind::Command);
            executors.extend(listed.map(|executor| executor.info.clone()));
            for (task_id, entry) in &framework.tasks {
                let stream = self.streams.get(&(framework_id.clone(), task_id.clone()));
                let mut task = entry.task.clone();
                task.unacknowledged = stream.and_then(|stream| stream.head());
                tasks.push(task);
            }
        }
        let operations = self.operations().cloned().collect();
        ToMaster::Reregister { info: info.into(), frameworks, executors, tasks, operations }
    }

    pub(super) fn registered(
        &mut self,
        now: Time,
        agent_id: AgentId,
        silence_max: Duration,
        unknown_here: Vec<(FrameworkId, TaskId)>,
        out: &mut Effects,
    ) {
        if self.link == LinkState::Down {
            return;
        }
        if self.config.info.id.as_ref() != Some(&agent_id) {
            self.config.info.id = Some(agent_id.clone());
            out.persist(Record::Identity { agent_id });
        }
        self.link = LinkState::Registered { silence_max, last_message_at: now };
        self.timers.disarm(&Timer::Register);
        if self.stopping.is_some() {
            out.send_to_master(ToMaster::Stopping);
        }
        self.flush_updates(now, None, out);
        self.flush_operations(now, None, out);
        self.repeat_oversubscribed(out);
        self.send_runtime_failure(out);
        for key in unknown_here {
            self.report_unknown_task(now, key, out);
        }
    }

    /// Tells the master whether containers of images can be started. One that the agent registers with anew knows an older answer.
    pub(super) fn send_runtime_failure(&self, out: &mut Effects) {
        if self.is_registered() && self.config.info.runs_images {
            out.send_to_master(ToMaster::ContainerRuntime { failure: self.runtime_failure.clone() });
        }
    }

    /// The master has a task on this agent that is not here: its launch was lost.
    fn report_unknown_task(&mut self, now: Time, key: (FrameworkId, TaskId), out: &mut Effects) {
        let framework = self.frameworks.get(&key.0);
        if self.streams.contains_key(&key) || framework.is_some_and(|f| f.tasks.contains_key(&key.1)) {
            return;
        }
        // The capabilities of an unknown framework are not known; every framework understands TASK_LOST.
        let state = framework.map_or(TaskState::Lost, |f| f.state_for(TaskState::Dropped));
        let status = TaskStatus {
            reason: Some(Reason::Reconciliation),
            message: Some("Task is unknown to the agent".to_owned()),
            ..TaskStatus::new(key.1.clone(), state, Source::Agent, now)
        };
        self.report(now, &key, status.into(), out);
    }

    /// A message came from the master.
    pub(super) fn master_heard(&mut self, now: Time) {
        if let LinkState::Registered { last_message_at, .. } = &mut self.link {
            *last_message_at = now;
        }
    }

    /// When the link is dropped if no message comes before. Not a [`Timer`], which every message would have to reset.
    pub(super) fn silence_deadline(&self) -> Option<Time> {
        match self.link {
            LinkState::Registered { silence_max, last_message_at } if !silence_max.is_zero() => {
                Some(last_message_at + silence_max)
            }
            _ => None,
        }
    }

    pub(super) fn disconnect_silent_master(&mut self, now: Time, out: &mut Effects) {
        if self.silence_deadline().is_some_and(|at| at <= now) {
            self.link_down();
            out.push(Effect::DropLink);
        }
    }

    pub(super) fn update_framework(&mut self, now: Time, info: Arc<FrameworkInfo>, out: &mut Effects) {
        let Some(id) = info.id.clone() else { return };
        self.flush_operations(now, Some(&id), out);
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        if framework.info != info {
            let checkpoint = framework.info.checkpoint;
            framework.info = with_checkpoint(info, checkpoint);
            if checkpoint {
                out.persist(Record::Framework { info: framework.info.clone() });
            }
        }
        self.flush_updates(now, Some(&id), out);
    }

    /// Removes a framework without executors, tasks and updates.
    pub(super) fn remove_framework_if_idle(&mut self, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let waiting = self
            .streams
            .range((framework_id.clone(), TaskId::new(""))..)
            .next()
            .is_some_and(|(key, _)| key.0 == *framework_id);
        if !framework.executors.is_empty() || !framework.tasks.is_empty() || waiting {
            return;
        }
        if framework.info.checkpoint {
            out.persist(Record::FrameworkRemoved { framework_id: framework_id.clone() });
        }
        self.forget_framework(framework_id);
    }
}
