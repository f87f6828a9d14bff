//! Termination of frameworks, and sending events to them.

use std::sync::Arc;

use kernel_model::{
    agent::ToAgent,
    ids::{AgentId, FrameworkId},
    operator, scheduler,
    task::{Reason, Source, TaskState, TaskStatus},
};

use super::{
    Master,
    effect::{Effect, Op, Record, RecordKey},
    state::{Framework, FrameworkState},
};

/// How many completed frameworks are kept, as in Mesos. A framework that is dropped from the list can subscribe again
/// under its old id.
const COMPLETED_FRAMEWORKS_MAX: usize = 50;

/// How many completed tasks per framework are kept, as in Mesos.
const COMPLETED_TASKS_MAX: usize = 1000;

/// How many unreachable tasks per framework are kept, as in Mesos.
const UNREACHABLE_TASKS_MAX: usize = 1000;

impl Framework {
    pub(super) fn remember_completed(&mut self, task: kernel_model::task::Task) {
        if self.completed_tasks.len() >= COMPLETED_TASKS_MAX {
            self.completed_tasks.pop_front();
        }
        self.completed_tasks.push_back(task.into());
    }

    pub(super) fn remember_unreachable(&mut self, task: kernel_model::task::Task) {
        if self.unreachable_tasks.len() >= UNREACHABLE_TASKS_MAX {
            self.unreachable_tasks.pop_front();
        }
        self.unreachable_tasks.push_back(task.into());
    }
}

impl Master {
    /// Sends to a framework if it is connected; otherwise the event is lost, as in Mesos.
    pub(super) fn send_to_framework(&mut self, id: &FrameworkId, event: scheduler::Event) {
        let stream = self.frameworks.get(id).and_then(|f| f.stream().cloned());
        if let Some(stream) = stream {
            if let Some(counts) = self.framework_counts(id) {
                counts.event(&event);
            }
            self.effect(Effect::ToScheduler { stream, event });
        }
    }

    pub(super) fn broadcast_to_frameworks(&mut self, event: &scheduler::Event) {
        let connected = self.frameworks.values().filter(|framework| framework.stream().is_some());
        let ids: Vec<FrameworkId> = connected.map(|framework| framework.id.clone()).collect();
        for id in ids {
            self.send_to_framework(&id, event.clone());
        }
    }

    /// The agents with tasks or executors of the framework.
    pub(super) fn agents_of(&self, id: &FrameworkId) -> Vec<AgentId> {
        let uses = |agent: &super::state::Agent| {
            agent.tasks.contains_key(id) || agent.executors.keys().any(|(framework, _)| framework == id)
        };
        self.agents.values().filter(|agent| uses(agent)).map(|agent| agent.id.clone()).collect()
    }

    /// Terminates a framework: its executors are shut down, and it may not subscribe again.
    pub(super) fn end_framework(&mut self, id: &FrameworkId) {
        self.withdraw_framework_offers(id, false);
        for agent_id in self.agents_of(id) {
            self.send_to_agent(&agent_id, ToAgent::ShutdownFramework { framework_id: id.clone() });
            self.release_framework_on(&agent_id, id);
        }
        self.end_operations(id);
        self.forget_demand(id);
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        for client in std::mem::take(&mut framework.clients).into_values() {
            self.allocator.remove_client(client);
        }
        let now = self.now;
        for mut task in std::mem::take(&mut framework.tasks).into_values() {
            if !task.state.is_terminal() {
                task.state = TaskState::Killed;
                let status = Arc::new(TaskStatus {
                    reason: Some(Reason::FrameworkRemoved),
                    message: Some(format!("Framework {id} removed")),
                    agent_id: Some(task.info.agent_id.clone()),
                    ..TaskStatus::new(task.info.task_id.clone(), TaskState::Killed, Source::Master, now)
                });
                self.counts.task(TaskState::Killed, Source::Master, Some(Reason::FrameworkRemoved));
                self.operator_event(operator::Event::TaskUpdated {
                    framework_id: id.clone(),
                    status: status.clone(),
                    latest: TaskState::Killed,
                });
                task.statuses.push(status);
            }
            framework.remember_completed(task);
        }
        if let FrameworkState::Connected(stream) =
            std::mem::replace(&mut framework.state, FrameworkState::Completed)
        {
            self.streams.remove(&stream);
            self.effect(Effect::CloseStream { stream });
        }
        framework.unregistered_at = Some(now);
        self.operator_event(operator::Event::FrameworkRemoved { framework: framework.info.clone() });
        self.forget_absence(id);
        self.persist(Op::Put(Record::EndedFramework { framework_id: id.clone(), since: now }));
        self.completed.push_back(framework.into());
        if self.completed.len() > COMPLETED_FRAMEWORKS_MAX {
            self.completed.pop_front();
        }
        self.trim_ended_frameworks();
    }

    fn trim_ended_frameworks(&mut self) {
        let mut ended: Vec<_> = self
            .registry
            .iter()
            .filter_map(|record| match record {
                Record::EndedFramework { framework_id, since } => Some((*since, framework_id.clone())),
                _ => None,
            })
            .collect();
        if ended.len() > COMPLETED_FRAMEWORKS_MAX {
            ended.sort();
            let surplus = ended.len() - COMPLETED_FRAMEWORKS_MAX;
            for (_, framework_id) in ended.drain(..surplus) {
                self.persist(Op::Delete(RecordKey::EndedFramework(framework_id)));
            }
        }
    }
}
