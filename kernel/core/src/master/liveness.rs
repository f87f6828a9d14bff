//! Loss of agents: disconnection, ping timeout, and removal with all their tasks.

use kernel_model::{
    agent::{AgentState, ToAgent},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId, TaskId},
    operator,
    scheduler::{self, OperationState},
    task::{Reason, Source, Task, TaskState},
    time::Time,
};
use std::{sync::Arc, time::Duration};

use super::{
    AgentLink, Master,
    accept::lost_state,
    effect::{Effect, Op, Record, RecordKey},
    state::{AbsentAgent, Agent},
    timers::Timer,
};
use crate::{allocator::Allocator, effect::LinkId};

/// How often old registry records are removed, as in Mesos.
const COLLECTION_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How long unreachable and gone agents are kept, as in Mesos.
const ABSENT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// How many unreachable agents, and how many gone agents, are kept, as in Mesos.
const ABSENT_COUNT_MAX: usize = 102_400;

/// Why an agent is removed from the pool; it decides the state of its tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RemovalReason {
    /// The agent is unreachable and may return.
    Unreachable,
    /// The agent unregistered or was replaced.
    Removed,
    /// An operator marked the agent as gone.
    Gone,
}

impl Master {
    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(AgentLink { agent: Some(id), message_since_ping }) = self.links.remove(&link) else {
            return;
        };
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.link != Some(link) {
            return;
        }
        if message_since_ping {
            agent.missed_pings = 0;
        }
        if agent.stopping {
            // It was stopped in order, so its link is not coming back soon.
            agent.link = None;
            return self.mark_unreachable(&id, "the agent was stopped");
        }
        agent.link = None;
        agent.state = AgentState::Disconnected;
        agent.epoch += 1;
        let (slot, epoch) = (agent.slot, agent.epoch);
        self.allocator.set_agent_active(slot, false);
        self.withdraw_agent_offers(&id);
        self.lose_uncheckpointed_tasks(&id);
        self.changed_agents.insert(id.clone());
        self.timers.set(
            self.now + self.config.agent_reregister_timeout,
            Timer::AgentReregister { agent: id.clone(), epoch },
        );
        self.timers.set(self.now + self.config.ping_interval, Timer::Ping { agent: id, epoch });
    }

    /// The agent's machine or operator stops it: its resources are not offered any more.
    pub(super) fn agent_stops(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id).filter(|agent| !agent.stopping) else { return };
        agent.stopping = true;
        let slot = agent.slot;
        self.allocator.set_agent_active(slot, false);
        self.withdraw_agent_offers(id);
        self.changed_agents.insert(id.clone());
    }

    /// Frameworks without checkpointing lose their tasks when the agent disconnects. It may still run them when it is back, so what
    /// they hold is not for operators' operations until then.
    fn lose_uncheckpointed_tasks(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let slot = agent.slot;
        let free = |allocator: &Allocator| allocator.available(slot).cloned().unwrap_or_default();
        let before = free(&self.allocator);
        let concerned: Vec<FrameworkId> = agent
            .tasks
            .keys()
            .chain(agent.executors.keys().map(|(framework, _)| framework))
            .filter(|f| self.frameworks.get(*f).is_some_and(|f| !f.info.checkpoint))
            .cloned()
            .collect();
        let message = format!("Agent {} disconnected", agent.info.hostname);
        for framework_id in concerned {
            let tasks: Vec<TaskId> = self.agents[id]
                .tasks
                .get(&framework_id)
                .map(|t| t.iter().cloned().collect())
                .unwrap_or_default();
            for task_id in tasks {
                self.lose_task(
                    &framework_id,
                    &task_id,
                    TaskState::Lost,
                    Reason::AgentDisconnected,
                    &message,
                    None,
                );
            }
            self.release_framework_on(id, &framework_id);
        }
        let released = free(&self.allocator).saturating_sub(&before);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.unconfirmed = released;
        }
    }

    pub(super) fn ping_due(&mut self, id: &AgentId, epoch: u64) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.epoch != epoch {
            return;
        }
        let link = agent.link.and_then(|link| self.links.get_mut(&link));
        if link.is_some_and(|link| std::mem::take(&mut link.message_since_ping)) {
            agent.missed_pings = 0;
        }
        if agent.missed_pings >= self.config.ping_timeouts {
            return self.mark_unreachable(id, "health check timed out");
        }
        agent.missed_pings += 1;
        self.timers.set(self.now + self.config.ping_interval, Timer::Ping { agent: id.clone(), epoch });
        self.send_to_agent(id, ToAgent::Ping);
    }

    pub(super) fn reregistration_timed_out(&mut self, id: &AgentId, epoch: u64) {
        if self.agents.get(id).is_some_and(|a| a.epoch == epoch && a.state == AgentState::Disconnected) {
            let why = format!(
                "agent did not reregister within {} after disconnecting",
                self.reregister_timeout_text()
            );
            self.mark_unreachable(id, &why);
        }
    }

    /// Marks the agents that did not re-register after the master's start as unreachable.
    pub(super) fn recovery_timed_out(&mut self) {
        let now = self.now;
        let missing: Vec<AgentId> = self
            .absent
            .iter()
            .filter(|(_, a)| a.unreachable_since.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            let absent = self.absent.get_mut(&id).expect("invariant: listed above");
            absent.unreachable_since = Some(now);
            self.counts.unreachable_agents += 1;
            self.counts.unreachable_recovered_agents += 1;
            let (info, activation) = (absent.info.clone(), absent.activation.clone());
            let snapshot = absent.snapshot();
            self.persist(Op::Put(Record::Agent { info, activation, unreachable_since: Some(now) }));
            self.operator_event(operator::Event::AgentUpdated { agent: snapshot });
            self.broadcast_agent_lost(&id);
        }
        self.schedule_registry_gc();
    }

    fn reregister_timeout_text(&self) -> String {
        let seconds = self.config.agent_reregister_timeout.as_secs();
        if seconds > 0 && seconds.is_multiple_of(60) {
            format!("{}mins", seconds / 60)
        } else {
            format!("{seconds}secs")
        }
    }

    fn mark_unreachable(&mut self, id: &AgentId, why: &str) {
        let now = self.now;
        let operations = self.pending_operations(id);
        let Some(agent) = self.detach_agent(id, RemovalReason::Unreachable, why) else { return };
        self.counts.unreachable_agents += 1;
        let (info, activation) = (agent.info, agent.activation);
        let absent = AbsentAgent {
            info: info.clone(),
            activation: activation.clone(),
            unreachable_since: Some(now),
            operations,
        };
        self.operator_event(operator::Event::AgentUpdated { agent: absent.snapshot() });
        self.absent.insert(id.clone(), absent);
        self.persist(Op::Put(Record::Agent { info, activation, unreachable_since: Some(now) }));
        self.broadcast_agent_lost(id);
        self.schedule_registry_gc();
    }

    /// Removes an agent permanently: it unregistered, or another took its place.
    pub(super) fn remove_agent(&mut self, id: &AgentId, why: &str) {
        if self.detach_agent(id, RemovalReason::Removed, why).is_none() {
            return;
        }
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.operator_event(operator::Event::AgentRemoved { agent_id: id.clone() });
        self.broadcast_agent_lost(id);
    }

    /// Marks an agent as gone; `false` if it is not known.
    pub(super) fn mark_gone(&mut self, id: &AgentId) -> bool {
        const MESSAGE: &str = "Agent has been marked gone";
        let now = self.now;
        if self.registry.get(&RecordKey::GoneAgent(id.clone())).is_some() {
            return true;
        }
        let shutdown = ToAgent::Shutdown { message: MESSAGE.to_owned() };
        self.send_to_agent(id, shutdown);
        let mut snapshot = if let Some(agent) = self.detach_agent(id, RemovalReason::Gone, MESSAGE) {
            agent.snapshot()
        } else if let Some(absent) = self.absent.remove(id) {
            self.complete_unreachable_tasks(id, RemovalReason::Gone, MESSAGE);
            self.end_absent_operations(id, &absent.operations, OperationState::GoneByOperator, MESSAGE);
            absent.snapshot()
        } else {
            return false;
        };
        snapshot.state = AgentState::Gone;
        self.counts.gone_agents += 1;
        self.operator_event(operator::Event::AgentUpdated { agent: snapshot });
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.persist(Op::Put(Record::GoneAgent { agent_id: id.clone(), since: now }));
        self.broadcast_agent_lost(id);
        self.schedule_registry_gc();
        true
    }

    /// Removes an absent agent whose machine registered under a new id.
    pub(super) fn forget_absent(&mut self, id: &AgentId) {
        let Some(absent) = self.absent.remove(id) else { return };
        let host = &absent.info.hostname;
        let message = format!("Agent {host} removed: a new agent registered at the same address");
        self.complete_unreachable_tasks(id, RemovalReason::Removed, &message);
        self.end_absent_operations(id, &absent.operations, OperationState::Dropped, &message);
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.operator_event(operator::Event::AgentRemoved { agent_id: id.clone() });
    }

    /// Completes the unreachable tasks of an agent that will not return.
    fn complete_unreachable_tasks(&mut self, id: &AgentId, kind: RemovalReason, message: &str) {
        let mut over = Vec::new();
        for framework in self.frameworks.values() {
            for task in framework.unreachable_tasks.iter().filter(|t| t.info.agent_id == *id) {
                over.push((framework.id.clone(), Task::clone(task)));
            }
        }
        for (framework_id, mut task) in over {
            let Some(framework) = self.frameworks.get_mut(&framework_id) else { continue };
            framework.unreachable_tasks.retain(|t| t.info.task_id != task.info.task_id);
            let (state, reason) = state_after_removal(kind, &framework.info);
            task.state = state;
            framework.remember_completed(task.clone());
            let mut status = self.status_of(&task, state, reason);
            status.message = Some(message.to_owned());
            self.count_task(&framework_id, state, Source::Master, Some(reason));
            self.send_to_framework(&framework_id, scheduler::Event::Update { status: status.into() });
        }
    }

    /// Removes an agent from the pool with its offers, tasks, executors and link.
    fn detach_agent(&mut self, id: &AgentId, kind: RemovalReason, why: &str) -> Option<Agent> {
        let host = self.agents.get(id)?.info.hostname.clone();
        self.withdraw_agent_offers(id);
        let (message, since) = match kind {
            RemovalReason::Unreachable => (format!("Agent {host} is unreachable: {why}"), Some(self.now)),
            RemovalReason::Removed => (format!("Agent {host} removed: {why}"), None),
            RemovalReason::Gone => (why.to_owned(), None),
        };
        let told = match kind {
            RemovalReason::Unreachable => Some((OperationState::Unreachable, "Agent was marked unreachable")),
            RemovalReason::Gone => Some((OperationState::GoneByOperator, "Agent has been marked gone")),
            RemovalReason::Removed => None,
        };
        self.lose_operations(id, told);
        let tasks = self.agents[id].tasks.clone();
        for (framework_id, task_ids) in tasks {
            let Some(framework) = self.frameworks.get(&framework_id) else { continue };
            let (state, reason) = state_after_removal(kind, &framework.info);
            for task_id in task_ids {
                self.lose_task(&framework_id, &task_id, state, reason, &message, since);
            }
        }
        let holders: Vec<FrameworkId> = self.agents[id].allocated.keys().cloned().collect();
        for framework_id in holders {
            self.release_framework_on(id, &framework_id);
        }
        let agent = self.agents.remove(id)?;
        self.agents_by_slot.remove(&agent.slot);
        self.allocator.remove_agent(agent.slot);
        self.changed_agents.remove(id);
        if let Some(link) = agent.link {
            self.links.remove(&link);
            self.effect(Effect::CloseLink { link });
        }
        Some(agent)
    }

    /// A task terminates, or becomes unreachable, with its agent.
    fn lose_task(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        state: TaskState,
        reason: Reason,
        message: &str,
        unreachable_since: Option<Time>,
    ) {
        let Some(mut task) = self.remove_task(framework_id, task_id) else { return };
        let ended = task.state.is_terminal();
        let mut status = self.status_of(&task, state, reason);
        status.message = Some(message.to_owned());
        status.unreachable_since = unreachable_since;
        let status = Arc::new(status);
        if !ended {
            task.state = state;
            task.statuses.push(status.clone());
        }
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        // One that has ended is not out of reach: its framework may launch it again.
        if unreachable_since.is_some() && !ended {
            framework.remember_unreachable(task);
        } else {
            framework.remember_completed(task);
        }
        if !ended {
            self.count_task(framework_id, state, Source::Master, Some(reason));
            self.operator_event(operator::Event::TaskUpdated {
                framework_id: framework_id.clone(),
                status: status.clone(),
                latest: state,
            });
            self.send_to_framework(framework_id, scheduler::Event::Update { status });
        }
    }

    fn broadcast_agent_lost(&mut self, id: &AgentId) {
        let event = scheduler::Event::Failure { agent_id: Some(id.clone()), executor_id: None, status: None };
        self.broadcast_to_frameworks(&event);
    }

    fn schedule_registry_gc(&mut self) {
        if !self.gc_scheduled {
            self.gc_scheduled = true;
            self.timers.set(self.now + COLLECTION_INTERVAL, Timer::RegistryGc);
        }
    }

    /// Removes agents that have been absent for too long, or that are too many; and the absence of frameworks that no agent knows.
    pub(super) fn gc_registry(&mut self) {
        self.gc_scheduled = false;
        let mut away: Vec<(Time, RecordKey)> = Vec::new();
        let mut gone: Vec<(Time, RecordKey)> = Vec::new();
        let mut unknown: Vec<(Time, RecordKey)> = Vec::new();
        for record in self.registry.iter() {
            match record {
                Record::Agent { unreachable_since: Some(since), .. } => away.push((*since, record.key())),
                Record::GoneAgent { since, .. } => gone.push((*since, record.key())),
                Record::AbsentFramework { framework_id, until }
                    if !self.frameworks.contains_key(framework_id) =>
                {
                    unknown.push((*until, record.key()));
                }
                _ => {}
            }
        }
        let left = away.len() + gone.len() + unknown.len();
        let mut forgotten = 0;
        for mut list in [away, gone, unknown] {
            list.sort();
            let surplus = list.len().saturating_sub(ABSENT_COUNT_MAX);
            for (at, (since, key)) in list.into_iter().enumerate() {
                if at < surplus || self.now.since(since) > ABSENT_AGE_MAX {
                    if let RecordKey::Agent(id) = &key {
                        self.absent.remove(id);
                        self.forget_pending(id);
                    }
                    self.persist(Op::Delete(key));
                    forgotten += 1;
                }
            }
        }
        if left > forgotten {
            self.schedule_registry_gc();
        }
    }
}

/// The state and reason of a task whose agent is removed.
fn state_after_removal(kind: RemovalReason, framework: &FrameworkInfo) -> (TaskState, Reason) {
    match kind {
        RemovalReason::Unreachable => (lost_state(framework, TaskState::Unreachable), Reason::AgentRemoved),
        RemovalReason::Removed => (TaskState::Lost, Reason::AgentRemoved),
        RemovalReason::Gone if framework.can(FrameworkCapability::PartitionAware) => {
            (TaskState::GoneByOperator, Reason::AgentRemovedByOperator)
        }
        RemovalReason::Gone => (TaskState::Lost, Reason::AgentRemoved),
    }
}
