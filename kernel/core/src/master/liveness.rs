//! How agents go: cut links, silence, and the end of an agent with all that it ran.

use kernel_model::{
    agent::{AgentState, ToAgent},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId, TaskId},
    operator, scheduler,
    task::{Reason, Task, TaskState},
    time::Time,
};
use std::{sync::Arc, time::Duration};

use super::{
    Link, Master,
    accept::loss,
    effect::{Effect, Op, Record, RecordKey},
    state::{AbsentAgent, Agent},
    timers::Timer,
};
use crate::effect::LinkId;

/// How often old entries of the registry are looked for, as in Mesos.
const COLLECTION_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// How long unreachable and gone agents are remembered, as in Mesos.
const ABSENT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// How many unreachable and gone agents are remembered, each, as in Mesos.
const ABSENT_COUNT_MAX: usize = 102_400;

/// Why an agent leaves, which decides what its tasks become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// It may come back.
    Unreachable,
    /// It unregistered or was replaced.
    Removed,
    /// An operator says so.
    Gone,
}

impl Master {
    pub(super) fn link_down(&mut self, link: LinkId) {
        let Some(Link { agent: Some(id), heard }) = self.links.remove(&link) else { return };
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.link != Some(link) {
            return;
        }
        if heard {
            agent.missed_pings = 0;
        }
        agent.link = None;
        agent.state = AgentState::Disconnected;
        agent.epoch += 1;
        let (slot, epoch) = (agent.slot, agent.epoch);
        self.allocator.set_agent_active(slot, false);
        self.withdraw_agent_offers(&id);
        self.lose_what_is_not_checkpointed(&id);
        self.dirty_agents.insert(id.clone());
        self.timers.set(
            self.now + self.config.agent_reregister_timeout,
            Timer::AgentReregister { agent: id.clone(), epoch },
        );
        self.timers.set(self.now + self.config.ping_interval, Timer::Ping { agent: id, epoch });
    }

    /// Frameworks without checkpointing lose what ran on an agent whose link is cut.
    fn lose_what_is_not_checkpointed(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
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
    }

    pub(super) fn ping_due(&mut self, id: &AgentId, epoch: u64) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.epoch != epoch {
            return;
        }
        let link = agent.link.and_then(|link| self.links.get_mut(&link));
        if link.is_some_and(|link| std::mem::take(&mut link.heard)) {
            agent.missed_pings = 0;
        }
        if agent.missed_pings >= self.config.ping_timeouts {
            return self.mark_unreachable(id, "health check timed out");
        }
        agent.missed_pings += 1;
        self.timers.set(self.now + self.config.ping_interval, Timer::Ping { agent: id.clone(), epoch });
        self.tell_agent(id, ToAgent::Ping);
    }

    pub(super) fn reregistration_timed_out(&mut self, id: &AgentId, epoch: u64) {
        if self.agents.get(id).is_some_and(|a| a.epoch == epoch && a.state == AgentState::Disconnected) {
            let why = format!("agent did not reregister within {} after disconnecting", self.patience());
            self.mark_unreachable(id, &why);
        }
    }

    /// Agents of the registry that did not come back after the master's start.
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
            let (info, deactivated) = (absent.info.clone(), absent.deactivated);
            let snapshot = absent.snapshot();
            self.persist(Op::Put(Record::Agent { info, deactivated, unreachable_since: Some(now) }));
            self.operator_event(operator::Event::AgentUpdated { agent: snapshot });
            self.announce_loss(&id);
        }
        self.plan_collection();
    }

    fn patience(&self) -> String {
        let seconds = self.config.agent_reregister_timeout.as_secs();
        if seconds > 0 && seconds.is_multiple_of(60) {
            format!("{}mins", seconds / 60)
        } else {
            format!("{seconds}secs")
        }
    }

    fn mark_unreachable(&mut self, id: &AgentId, why: &str) {
        let now = self.now;
        let Some(agent) = self.part_with(id, Farewell::Unreachable, why) else { return };
        let (info, deactivated) = (agent.info, agent.deactivated);
        let absent = AbsentAgent { info: info.clone(), deactivated, unreachable_since: Some(now) };
        self.operator_event(operator::Event::AgentUpdated { agent: absent.snapshot() });
        self.absent.insert(id.clone(), absent);
        self.persist(Op::Put(Record::Agent { info, deactivated, unreachable_since: Some(now) }));
        self.announce_loss(id);
        self.plan_collection();
    }

    /// The agent leaves for good: it unregistered, or another took its place.
    pub(super) fn remove_agent(&mut self, id: &AgentId, why: &str) {
        if self.part_with(id, Farewell::Removed, why).is_none() {
            return;
        }
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.operator_event(operator::Event::AgentRemoved { agent_id: id.clone() });
        self.announce_loss(id);
    }

    /// An operator declares an agent gone; `false` if it is not known.
    pub(super) fn mark_gone(&mut self, id: &AgentId) -> bool {
        const MESSAGE: &str = "Agent has been marked gone";
        let now = self.now;
        if self.registry.get(&RecordKey::GoneAgent(id.clone())).is_some() {
            return true;
        }
        let shutdown = ToAgent::Shutdown { message: MESSAGE.to_owned() };
        self.tell_agent(id, shutdown);
        let mut snapshot = if let Some(agent) = self.part_with(id, Farewell::Gone, MESSAGE) {
            agent.snapshot()
        } else if let Some(absent) = self.absent.remove(id) {
            self.give_up_unreachable_tasks(id, Farewell::Gone, MESSAGE);
            absent.snapshot()
        } else {
            return false;
        };
        snapshot.state = AgentState::Gone;
        self.operator_event(operator::Event::AgentUpdated { agent: snapshot });
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.persist(Op::Put(Record::GoneAgent { agent_id: id.clone(), since: now }));
        self.announce_loss(id);
        self.plan_collection();
        true
    }

    /// An agent that is away will not return: its machine has registered anew.
    pub(super) fn forget_absent(&mut self, id: &AgentId) {
        let Some(absent) = self.absent.remove(id) else { return };
        let host = &absent.info.hostname;
        let message = format!("Agent {host} removed: a new agent registered at the same address");
        self.give_up_unreachable_tasks(id, Farewell::Removed, &message);
        self.persist(Op::Delete(RecordKey::Agent(id.clone())));
        self.operator_event(operator::Event::AgentRemoved { agent_id: id.clone() });
    }

    /// Tasks that were unreachable on an agent that will not return.
    fn give_up_unreachable_tasks(&mut self, id: &AgentId, kind: Farewell, message: &str) {
        let mut over = Vec::new();
        for framework in self.frameworks.values() {
            for task in framework.unreachable_tasks.iter().filter(|t| t.info.agent_id == *id) {
                over.push((framework.id.clone(), Task::clone(task)));
            }
        }
        for (framework_id, mut task) in over {
            let Some(framework) = self.frameworks.get_mut(&framework_id) else { continue };
            framework.unreachable_tasks.retain(|t| t.info.task_id != task.info.task_id);
            let (state, reason) = farewell(kind, &framework.info);
            task.state = state;
            framework.remember_completed(task.clone());
            let mut status = self.status_of(&task, state, reason);
            status.message = Some(message.to_owned());
            self.tell_framework(&framework_id, scheduler::Event::Update { status: status.into() });
        }
    }

    /// Takes an agent out of the pool: offers, tasks, executors, link.
    fn part_with(&mut self, id: &AgentId, kind: Farewell, why: &str) -> Option<Agent> {
        let host = self.agents.get(id)?.info.hostname.clone();
        self.withdraw_agent_offers(id);
        let (message, since) = match kind {
            Farewell::Unreachable => (format!("Agent {host} is unreachable: {why}"), Some(self.now)),
            Farewell::Removed => (format!("Agent {host} removed: {why}"), None),
            Farewell::Gone => (why.to_owned(), None),
        };
        let tasks = self.agents[id].tasks.clone();
        for (framework_id, task_ids) in tasks {
            let Some(framework) = self.frameworks.get(&framework_id) else { continue };
            let (state, reason) = farewell(kind, &framework.info);
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
        self.dirty_agents.remove(id);
        if let Some(link) = agent.link {
            self.links.remove(&link);
            self.effect(Effect::CloseLink { link });
        }
        Some(agent)
    }

    /// A task ends, or gets out of reach, with its agent.
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
        if unreachable_since.is_some() {
            framework.remember_unreachable(task);
        } else {
            framework.remember_completed(task);
        }
        if !ended {
            self.operator_event(operator::Event::TaskUpdated {
                framework_id: framework_id.clone(),
                status: status.clone(),
                latest: state,
            });
            self.tell_framework(framework_id, scheduler::Event::Update { status });
        }
    }

    fn announce_loss(&mut self, id: &AgentId) {
        let event = scheduler::Event::Failure { agent_id: Some(id.clone()), executor_id: None, status: None };
        self.tell_all_frameworks(&event);
    }

    fn plan_collection(&mut self) {
        if !self.collection_planned {
            self.collection_planned = true;
            self.timers.set(self.now + COLLECTION_INTERVAL, Timer::RegistryCollection);
        }
    }

    /// Forgets agents that have been away for very long, or that are very many.
    pub(super) fn collect_registry(&mut self) {
        self.collection_planned = false;
        let mut away: Vec<(Time, RecordKey)> = Vec::new();
        let mut gone: Vec<(Time, RecordKey)> = Vec::new();
        for record in self.registry.iter() {
            match record {
                Record::Agent { unreachable_since: Some(since), .. } => away.push((*since, record.key())),
                Record::GoneAgent { since, .. } => gone.push((*since, record.key())),
                _ => {}
            }
        }
        let left = away.len() + gone.len();
        let mut forgotten = 0;
        for mut list in [away, gone] {
            list.sort();
            let surplus = list.len().saturating_sub(ABSENT_COUNT_MAX);
            for (at, (since, key)) in list.into_iter().enumerate() {
                if at < surplus || self.now.since(since) > ABSENT_AGE_MAX {
                    if let RecordKey::Agent(id) = &key {
                        self.absent.remove(id);
                    }
                    self.persist(Op::Delete(key));
                    forgotten += 1;
                }
            }
        }
        if left > forgotten {
            self.plan_collection();
        }
    }
}

/// What becomes of a task whose agent leaves.
fn farewell(kind: Farewell, framework: &FrameworkInfo) -> (TaskState, Reason) {
    match kind {
        Farewell::Unreachable => (loss(framework, TaskState::Unreachable), Reason::AgentRemoved),
        Farewell::Removed => (TaskState::Lost, Reason::AgentRemoved),
        Farewell::Gone if framework.can(FrameworkCapability::PartitionAware) => {
            (TaskState::GoneByOperator, Reason::AgentRemovedByOperator)
        }
        Farewell::Gone => (TaskState::Lost, Reason::AgentRemoved),
    }
}
