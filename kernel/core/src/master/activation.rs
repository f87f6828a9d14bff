//! Which agents take new work, by the will of operators: deactivation (DEACTIVATE_AGENT), draining (DRAIN_AGENT) and the way back
//! (REACTIVATE_AGENT).
//!
//! Draining ends what runs on an agent. Tasks of frameworks are killed. The scheduler of this process is asked instead, by an inverse
//! offer for each task, and asked again as long as its rules about disruption forbid it. An agent is drained when the end of its last
//! task and of its last operation is acknowledged, as in Mesos. The agent itself knows nothing of this: whenever it registers again,
//! what it runs is ended again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kernel_model::{
    agent::{Activation, AgentState, Drain, DrainConfig, ToAgent},
    framework::FrameworkCapability,
    ids::{AgentId, FrameworkId, OfferId, TaskId},
    offer::Reclaim,
    task::{Reason, Source, TaskState, TaskStatus},
    time::Time,
};

use super::{
    Master,
    effect::{Op, Record, Refusal},
    timers::Timer,
};

/// How often tasks that may not end yet are asked for again, as `kubectl drain` does.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take, and the end of a task beyond its grace period.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A task of the scheduler of this process that is to end.
#[derive(Debug)]
struct Asked {
    /// The latest inverse offer for it; `None` if the scheduler was not subscribed.
    offer_id: Option<OfferId>,
    /// When it is asked for again.
    again: Time,
}

/// What is asked and looked at while agents are drained.
#[derive(Debug, Default)]
pub(super) struct Drains {
    asked: BTreeMap<(FrameworkId, TaskId), Asked>,
    /// Agents that may be drained since this step.
    emptier: BTreeSet<AgentId>,
    is_scheduled: bool,
}

impl Drains {
    /// Something ended on an agent.
    pub(super) fn ended_on(&mut self, id: &AgentId) {
        self.emptier.insert(id.clone());
    }
}

impl Master {
    pub(super) fn deactivate_agent(&mut self, id: &AgentId) -> Result<(), Refusal> {
        match self.activation_of(id)? {
            Activation::Active => self.set_activation(id, Activation::Deactivated),
            Activation::Deactivated | Activation::Drain(_) => {}
        }
        Ok(())
    }

    pub(super) fn reactivate_agent(&mut self, id: &AgentId) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Refusal::Invalid(why.to_owned()));
        match self.activation_of(id)? {
            Activation::Active => return refuse("Agent is not deactivated"),
            Activation::Drain(drain) if !drain.is_drained => {
                return refuse("Agent is still in the DRAINING state");
            }
            Activation::Deactivated | Activation::Drain(_) => {}
        }
        self.set_activation(id, Activation::Active);
        Ok(())
    }

    /// Drains an agent. If it is drained already, the new configuration replaces the old one.
    pub(super) fn drain_agent(&mut self, id: &AgentId, config: DrainConfig) -> Result<(), Refusal> {
        self.activation_of(id)?;
        let drain = Drain { config, is_drained: false, since: self.now };
        self.set_activation(id, Activation::Drain(drain));
        self.resume_drain(id);
        Ok(())
    }

    fn activation_of(&self, id: &AgentId) -> Result<&Activation, Refusal> {
        let registered = self.agents.get(id).map(|agent| &agent.activation);
        let known = registered.or_else(|| self.absent.get(id).map(|absent| &absent.activation));
        known.ok_or_else(|| Refusal::Invalid("Unknown agent".to_owned()))
    }

    fn set_activation(&mut self, id: &AgentId, activation: Activation) {
        let (info, unreachable_since) = if let Some(agent) = self.agents.get_mut(id) {
            agent.activation = activation.clone();
            (agent.info.clone(), None)
        } else if let Some(absent) = self.absent.get_mut(id) {
            absent.activation = activation.clone();
            (absent.info.clone(), absent.unreachable_since)
        } else {
            return;
        };
        self.persist(Op::Put(Record::Agent { info, activation, unreachable_since }));
        if let Some(agent) = self.agents.get(id) {
            let (slot, active) = (agent.slot, agent.is_active());
            self.changed_agents.insert(id.clone());
            self.allocator.set_agent_active(slot, active);
            if !active {
                self.withdraw_agent_offers(id);
            }
        }
    }

    /// Ends what runs on an agent that is to be drained, and is registered.
    pub(super) fn resume_drain(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let Some(drain) = agent.activation.drain() else { return };
        let max_grace = drain.config.max_grace;
        let mut kills = Vec::new();
        for (framework_id, task_ids) in &agent.tasks {
            let Some(framework) = self.frameworks.get(framework_id) else { continue };
            for task in task_ids.iter().filter_map(|id| framework.tasks.get(id)) {
                let key = (framework_id.clone(), task.info.task_id.clone());
                match framework.is_in_process() {
                    _ if task.state.is_terminal() => {}
                    true => {
                        self.drains.asked.insert(key, Asked { offer_id: None, again: self.now });
                    }
                    false => kills.push((key, shorter(max_grace, task.info.kill_grace))),
                }
            }
        }
        for ((framework_id, task_id), grace) in kills {
            self.send_to_agent(id, ToAgent::KillTask { framework_id, task_id, grace });
        }
        self.ask_for_drains();
        self.drains.ended_on(id);
    }

    /// Asks the scheduler of this process for the tasks whose time has come.
    pub(super) fn ask_for_drains(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        let (frameworks, agents) = (&self.frameworks, &self.agents);
        self.drains.asked.retain(|key, asked| {
            let framework = frameworks.get(&key.0);
            let task = framework.and_then(|framework| framework.tasks.get(&key.1));
            let Some(task) = task.filter(|task| !task.state.is_terminal()) else { return false };
            let agent_id = &task.info.agent_id;
            if agents.get(agent_id).is_none_or(|agent| agent.activation.drain().is_none()) {
                return false;
            }
            if asked.again <= now && framework.is_some_and(|framework| framework.stream().is_some()) {
                due.push((key.clone(), agent_id.clone(), task.info.resources.clone()));
            }
            true
        });
        for (key, agent_id, resources) in due {
            let offer_id = self.make_inverse_offer(&agent_id, &key.0, &key.1, &resources, Reclaim::Drain);
            let asked = Asked { offer_id: Some(offer_id), again: now + ANSWER_TIMEOUT };
            self.drains.asked.insert(key, asked);
        }
        if !self.drains.asked.is_empty() && !self.drains.is_scheduled {
            self.drains.is_scheduled = true;
            self.timers.set(now + ASK_EVERY, Timer::Drains);
        }
    }

    pub(super) fn drains_due(&mut self) {
        self.drains.is_scheduled = false;
        self.ask_for_drains();
    }

    /// The scheduler's answer to an inverse offer. Returns whether it is one of these.
    pub(super) fn drain_answered(&mut self, id: &FrameworkId, offer_id: &OfferId, accepted: bool) -> bool {
        let mut all = self.drains.asked.iter_mut();
        let found = all.find(|((of, _), asked)| of == id && asked.offer_id.as_ref() == Some(offer_id));
        let Some(((_, task_id), asked)) = found else { return false };
        let task = self.frameworks.get(id).and_then(|framework| framework.tasks.get(task_id));
        let grace = task.and_then(|task| task.info.kill_grace).unwrap_or_default();
        asked.again = self.now + if accepted { grace + ANSWER_TIMEOUT } else { ASK_EVERY };
        true
    }

    /// Agents that had something to end until now, and have nothing any more, are drained.
    pub(super) fn finish_drains(&mut self) {
        for id in std::mem::take(&mut self.drains.emptier) {
            let Some(agent) = self.agents.get(&id) else { continue };
            let is_empty = agent.tasks.is_empty() && agent.operations.is_empty();
            // One that is away may still run what was taken for lost.
            let is_here = agent.state == AgentState::Connected;
            match agent.activation.drain() {
                Some(drain) if is_empty && is_here && !drain.is_drained => {
                    if drain.config.mark_gone {
                        self.mark_gone(&id);
                        continue;
                    }
                    let drained = Drain { is_drained: true, ..drain.clone() };
                    self.set_activation(&id, Activation::Drain(drained));
                }
                _ => {}
            }
        }
    }

    /// A task's state and status as its framework sees them: the end of a task by draining says so.
    pub(super) fn with_drain(
        &self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        status: Arc<TaskStatus>,
        latest: TaskState,
    ) -> (Arc<TaskStatus>, TaskState) {
        let drain = self.agents.get(agent_id).and_then(|agent| agent.activation.drain());
        let framework = self.frameworks.get(framework_id).filter(|framework| !framework.is_in_process());
        let (Some(drain), Some(framework)) = (drain, framework) else { return (status, latest) };
        let killed = matches!(status.state, TaskState::Killing | TaskState::Killed);
        let is_aware = framework.info.can(FrameworkCapability::PartitionAware);
        let end = |state| match state {
            // Mesos has this state for TASK_KILLING too, although the task still runs then.
            TaskState::Killed if drain.config.mark_gone && is_aware => TaskState::GoneByOperator,
            state => state,
        };
        let status = match killed && status.source != Source::Master {
            true => {
                let reason = Some(Reason::AgentDraining);
                TaskStatus { state: end(status.state), reason, ..TaskStatus::clone(&status) }.into()
            }
            false => status,
        };
        (status, end(latest))
    }
}

/// The grace period to kill a task with: `None` leaves it to the task.
fn shorter(max: Option<Duration>, own: Option<Duration>) -> Option<Duration> {
    max.filter(|max| own.is_none_or(|own| *max < own))
}
