//! Preemption for guarantees: if a role with demand misses what its quota guarantees to it and nothing free can be offered, tasks of
//! others end ([`crate::preemption`] decides which), and what they free is held for the role.
//!
//! Tasks of frameworks are killed with their own kill policy, and their last update has the reason REASON_CONTAINER_PREEMPTED. The
//! scheduler of this process is asked instead, by an inverse offer for each task: it has rules of its own about disruption, and
//! may decline. A task that was declined, or is not gone in time, is left alone for a while, and others are chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel_model::{
    agent::ToAgent,
    caller::Caller,
    ids::{AgentId, FrameworkId, OfferId, TaskId},
    offer::{InverseOffer, Reclaim},
    quota::Quantities,
    resources::{Resource, Resources},
    roles::Role,
    scheduler,
    task::{PRIORITY_LABEL, Reason, Source, Task, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, Master, timers::Timer};
use crate::{
    allocator::{ClientSlot, Hold},
    preemption::{AgentWork, Candidate, Claim, Preemption, Problem, Standing, least, plan, subtract},
};

/// How often unmet guarantees are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a task may take to end beyond its grace period, and what is freed is held.
const HOLD: Duration = Duration::from_secs(60);
/// How long what is free may be there and the guarantee unmet until it is taken for parts into which no task of the role fits.
const SCATTERED_AFTER: Duration = Duration::from_secs(30);
/// How long a task that was declined, or did not end, is left alone.
const SPARED: Duration = Duration::from_secs(300);
/// The grace period of tasks without a kill policy, as in Mesos.
const GRACE_DEFAULT: Duration = Duration::from_secs(3);

/// A task that was told to end.
#[derive(Debug, Clone)]
struct Victim {
    /// The role that it ends for.
    role: Role,
    /// What of it counts for quota.
    amounts: Quantities,
    until: Time,
    /// It stays until then.
    spared: bool,
    /// The inverse offer for it.
    asked: Option<OfferId>,
}

/// Why nothing is preempted for a role that misses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stuck {
    /// No task of others may end for it.
    NothingToPreempt,
    /// All of it is free, on several agents, and none has what its work needs at once.
    Fragmented,
}

/// Guarantees that are not met, and what is done about it.
#[derive(Debug, Default)]
pub(super) struct Guarantees {
    victims: BTreeMap<(FrameworkId, TaskId), Victim>,
    /// Since when roles with demand miss something.
    unmet: BTreeMap<Role, Time>,
    /// What is held.
    held: BTreeMap<(AgentId, Role), Quantities>,
    /// The roles for which nothing was preempted.
    stuck: BTreeMap<Role, Stuck>,
    /// What frameworks say that they need in roles, whether they want offers or not.
    demand: BTreeMap<(FrameworkId, Role), Quantities>,
    is_scheduled: bool,
}

/// Where clients are among those that hold resources.
type Places = BTreeMap<ClientSlot, usize>;

impl Guarantees {
    /// What the framework says that it needs in the role; `None` if it does not say.
    pub(super) fn wanted_by(&self, id: &FrameworkId, role: &Role) -> Option<&Quantities> {
        self.demand.get(&(id.clone(), role.clone()))
    }
}

fn counted(resources: &Resources) -> Quantities {
    Quantities::of(resources, |r| r.reservations.is_empty() && !r.revocable)
}

fn why_stuck(problem: &Problem, claim: &Claim) -> Stuck {
    let mut free = Quantities::default();
    problem.agents.iter().for_each(|agent| free.add_all(&agent.free));
    match least(&claim.missing, &free) == claim.missing {
        true => Stuck::Fragmented,
        false => Stuck::NothingToPreempt,
    }
}

fn hold_id(role: &Role) -> String {
    format!("guarantee/{role}")
}

impl Master {
    /// Looks at the guarantees soon, if any is not met.
    pub(super) fn watch_guarantees(&mut self) {
        let pending = || !self.guarantees.victims.is_empty() || !self.guarantees.held.is_empty();
        let wanted = self.allocator.misses_guarantees() || pending();
        if self.config.preempt_after.is_some() && wanted && !self.guarantees.is_scheduled {
            self.guarantees.is_scheduled = true;
            self.timers.set(self.now + CHECK_EVERY, Timer::Guarantees);
        }
    }

    pub(super) fn check_guarantees(&mut self) {
        self.guarantees.is_scheduled = false;
        let Some(after) = self.config.preempt_after else { return };
        self.forget_victims();
        if self.is_awaiting_agents_for_quotas() {
            return;
        }
        let roles = self.standings();
        let claims = self.claims(&roles);
        let unmet: BTreeSet<&Role> = claims.iter().map(|(role, _)| role).collect();
        self.guarantees.unmet.retain(|role, _| unmet.contains(role));
        for role in unmet {
            self.guarantees.unmet.entry(role.clone()).or_insert(self.now);
        }
        self.release_met(&claims);
        let due =
            |role: &Role| self.guarantees.unmet.get(role).is_some_and(|since| self.now >= *since + after);
        let scattered = |role: &Role| {
            let since = self.guarantees.unmet.get(role);
            since.is_some_and(|since| self.now >= *since + after + SCATTERED_AFTER)
        };
        let claims: Vec<Claim> = claims
            .into_iter()
            .filter(|(role, _)| due(role))
            .map(|(role, claim)| Claim { scattered: scattered(&role), ..claim })
            .collect();
        if claims.is_empty() {
            self.guarantees.stuck.clear();
            return;
        }
        let (holders, places) = self.allocator.holders();
        let (ids, agents) = self.work(&places);
        let tasks: Vec<Vec<(FrameworkId, TaskId)>> = agents.iter().map(|(_, ids)| ids.clone()).collect();
        let agents = agents.into_iter().map(|(work, _)| work).collect();
        let problem = Problem { roles, holders, claims, agents };
        let plan = plan(&problem);
        let served: BTreeSet<usize> = plan.iter().map(|preemption| preemption.claim).collect();
        self.guarantees.stuck = (problem.claims.iter().enumerate())
            .filter(|(at, claim)| !served.contains(at) && !claim.missing.is_empty())
            .map(|(_, claim)| (claim.role.clone(), why_stuck(&problem, claim)))
            .collect();
        for preemption in &plan {
            let role = &problem.claims[preemption.claim].role;
            let victims: Vec<&(FrameworkId, TaskId)> =
                preemption.tasks.iter().map(|at| &tasks[preemption.agent][*at]).collect();
            self.preempt(role, &ids[preemption.agent], preemption, &victims);
        }
    }

    /// The roles with guarantees.
    fn standings(&self) -> BTreeMap<Role, Standing> {
        let guaranteed = self.quotas().filter(|(_, quota)| !quota.guarantees.is_empty());
        guaranteed
            .map(|(role, quota)| {
                let standing =
                    Standing { guarantee: quota.guarantees.clone(), consumed: self.quota_consumed(role) };
                (role.clone(), standing)
            })
            .collect()
    }

    /// What roles with demand miss, without what is offered to them, held for them, or being freed. The lowest roles are first, so
    /// that what is freed for them counts for those above.
    fn claims(&self, roles: &BTreeMap<Role, Standing>) -> Vec<(Role, Claim)> {
        let mut claims = Vec::new();
        for (role, standing) in roles {
            let mut missing = standing.guarantee.clone();
            subtract(&mut missing, &standing.consumed);
            if missing.is_empty() {
                continue;
            }
            let Some(wanted) = self.wanted_in(role) else { continue };
            if let Some(wanted) = wanted {
                // No more than is wanted; and what is wanted with it, guaranteed or not, must fit.
                let part = least(&missing, &wanted);
                if part.is_empty() {
                    continue;
                }
                let others = wanted.iter().filter(|(name, _)| standing.guarantee.get(name).is_none());
                missing = part;
                others.for_each(|(name, amount)| missing.add(name, amount));
            }
            let within = |other: &Role| other.is_within(role);
            for (_, offered) in self.offers.iter().filter(|(_, o)| within(&o.offer.role)) {
                subtract(&mut missing, &counted(&offered.offer.resources));
            }
            for victim in self.guarantees.victims.values().filter(|v| !v.spared && within(&v.role)) {
                subtract(&mut missing, &victim.amounts);
            }
            for ((agent_id, _), held) in self.guarantees.held.iter().filter(|((_, of), _)| within(of)) {
                let slot = self.agents.get(agent_id).map(|agent| agent.slot);
                let free = slot.and_then(|slot| self.allocator.available(slot)).map(counted);
                subtract(&mut missing, &least(held, &free.unwrap_or_default()));
            }
            claims.push((role.clone(), Claim { role: role.clone(), missing, scattered: false }));
        }
        claims.sort_by_key(|(role, _)| std::cmp::Reverse(role.as_str().matches('/').count()));
        claims
    }

    /// Whether anybody wants something in the role or below it; what, if all say so.
    fn wanted_in(&self, role: &Role) -> Option<Option<Quantities>> {
        let mut sum: Option<Quantities> = None;
        for framework in self.frameworks.values().filter(|framework| framework.stream().is_some()) {
            let says = framework.caller == Some(Caller::InProcess);
            let said = self
                .guarantees
                .demand
                .iter()
                .filter(|((id, of), _)| *id == framework.id && of.is_within(role));
            for (_, amounts) in said {
                sum.get_or_insert_default().add_all(amounts);
            }
            let mut clients = framework.clients.iter().filter(|(of, _)| of.is_within(role));
            if !says && clients.any(|(_, client)| self.allocator.wants_offers(self.now, *client)) {
                return Some(None);
            }
        }
        sum.map(Some)
    }

    /// The agents with what is free and their tasks that may end.
    #[allow(clippy::type_complexity)]
    fn work(&self, places: &Places) -> (Vec<AgentId>, Vec<(AgentWork, Vec<(FrameworkId, TaskId)>)>) {
        let active = self.agents.values().filter(|agent| agent.is_active());
        active.map(|agent| (agent.id.clone(), self.work_on(agent, places))).unzip()
    }

    fn work_on(&self, agent: &Agent, places: &Places) -> (AgentWork, Vec<(FrameworkId, TaskId)>) {
        let mut free = self.allocator.available(agent.slot).map(counted).unwrap_or_default();
        for hold in self.allocator.holds(agent.slot) {
            subtract(&mut free, &counted(&hold.resources));
        }
        let mut work = AgentWork { free, tasks: Vec::new() };
        let mut ids = Vec::new();
        for (framework_id, task_ids) in &agent.tasks {
            let Some(framework) = self.frameworks.get(framework_id) else { continue };
            for task in task_ids.iter().filter_map(|id| framework.tasks.get(id)) {
                let key = (framework_id.clone(), task.info.task_id.clone());
                let ends = task.state.is_terminal() || task.state == TaskState::Killing;
                let kept = ends || self.guarantees.victims.contains_key(&key);
                if let Some(candidate) = self.candidate(framework_id, task, places).filter(|_| !kept) {
                    work.tasks.push(candidate);
                    ids.push(key);
                }
            }
        }
        (work, ids)
    }

    fn candidate(&self, framework_id: &FrameworkId, task: &Task, places: &Places) -> Option<Candidate> {
        let roles = task.info.resources.allocation_roles();
        let [role] = roles[..] else { return None };
        let amounts = counted(&task.info.resources);
        let client = self.frameworks.get(framework_id)?.clients.get(role)?;
        let priority = task.info.labels.get(PRIORITY_LABEL).and_then(|text| text.parse().ok()).unwrap_or(0);
        let holder = *places.get(client)?;
        let launched_at = task.launched_at;
        let revocable = task.info.resources.iter().any(|r| r.revocable);
        let role = role.clone();
        (!amounts.is_empty()).then_some(Candidate { role, amounts, revocable, holder, priority, launched_at })
    }

    fn preempt(
        &mut self,
        role: &Role,
        agent_id: &AgentId,
        what: &Preemption,
        victims: &[&(FrameworkId, TaskId)],
    ) {
        let mut longest = Duration::ZERO;
        for (framework_id, task_id) in victims {
            let Some(task) = self.frameworks.get(framework_id).and_then(|f| f.tasks.get(task_id)) else {
                continue;
            };
            let grace = task.info.kill_grace.unwrap_or(GRACE_DEFAULT);
            longest = longest.max(grace);
            let resources = task.info.resources.clone();
            let asked = self.end_task(agent_id, framework_id, task_id, &resources);
            let victim = Victim {
                role: role.clone(),
                amounts: counted(&resources),
                until: self.now + grace + HOLD,
                spared: false,
                asked,
            };
            self.guarantees.victims.insert((framework_id.clone(), task_id.clone()), victim);
        }
        let held = self.guarantees.held.entry((agent_id.clone(), role.clone())).or_default();
        held.add_all(&what.amounts);
        let scalar = |(name, amount): (&std::sync::Arc<str>, _)| Resource::scalar(name, amount);
        let resources: Resources = held.iter().map(scalar).collect();
        let until = self.now + longest + HOLD;
        self.hold_for(agent_id, Hold { id: hold_id(role).into(), role: role.clone(), resources, until });
    }

    /// Tells a task to end, or asks its framework to end it: then returns the id of the inverse offer.
    fn end_task(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        resources: &Resources,
    ) -> Option<OfferId> {
        let framework = self.frameworks.get(framework_id)?;
        if framework.caller != Some(Caller::InProcess) || framework.stream().is_none() {
            self.counts.preemption.killed_tasks += 1;
            let (framework_id, task_id) = (framework_id.clone(), task_id.clone());
            self.send_to_agent(agent_id, ToAgent::KillTask { framework_id, task_id, grace: None });
            return None;
        }
        self.counts.preemption.inverse_offers += 1;
        Some(self.make_inverse_offer(agent_id, framework_id, task_id, resources, Reclaim::Guarantee))
    }

    /// Asks a framework to end a task.
    pub(super) fn make_inverse_offer(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        resources: &Resources,
        why: Reclaim,
    ) -> OfferId {
        let id = OfferId::from(format!("{}-I{}", self.config.info.id, self.next_inverse_offer));
        self.next_inverse_offer += 1;
        let offer = InverseOffer {
            id: id.clone(),
            framework_id: framework_id.clone(),
            agent_id: agent_id.clone(),
            task_id: task_id.clone(),
            resources: resources.clone(),
            why,
            start: self.now,
        };
        self.send_to_framework(framework_id, scheduler::Event::InverseOffers { offers: vec![offer] });
        id
    }

    /// A framework's answer to an inverse offer for a guarantee. Returns whether it is known.
    pub(super) fn inverse_offer_answered(
        &mut self,
        id: &FrameworkId,
        offer_id: &OfferId,
        accepted: bool,
    ) -> bool {
        let mut victims = self.guarantees.victims.iter_mut();
        let found = victims.find(|((of, _), victim)| of == id && victim.asked.as_ref() == Some(offer_id));
        let Some((_, victim)) = found else { return false };
        let counts = &mut self.counts.preemption;
        match accepted {
            true => counts.accepted_inverse_offers += 1,
            false => counts.declined_inverse_offers += 1,
        }
        if !accepted {
            victim.spared = true;
            victim.until = self.now + SPARED;
        }
        true
    }

    /// What a framework needs in its roles; replaces what it said before.
    pub(super) fn set_demand(&mut self, id: &FrameworkId, demand: Vec<(Role, Resources)>) {
        self.forget_demand(id);
        for (role, resources) in demand {
            self.guarantees.demand.insert((id.clone(), role), counted(&resources));
        }
    }

    pub(super) fn forget_demand(&mut self, id: &FrameworkId) {
        self.guarantees.demand.retain(|(of, _), _| of != id);
    }

    /// Forgets victims that are gone. Those that did not end in time are left alone for a while.
    fn forget_victims(&mut self) {
        let (frameworks, now) = (&self.frameworks, self.now);
        self.guarantees.victims.retain(|(framework, task), victim| {
            let task = frameworks.get(framework).and_then(|framework| framework.tasks.get(task));
            if task.is_none_or(|task| task.state.is_terminal()) || (victim.spared && victim.until <= now) {
                return false;
            }
            if victim.until <= now {
                victim.spared = true;
                victim.until = now + SPARED;
            }
            true
        });
    }

    /// Releases what is held for roles that miss nothing any more, or want nothing.
    fn release_met(&mut self, claims: &[(Role, Claim)]) {
        let unmet: BTreeSet<&Role> = claims.iter().map(|(role, _)| role).collect();
        let over = |(agent, role): &(AgentId, Role)| {
            let slot = self.agents.get(agent).map(|agent| agent.slot);
            let held = slot
                .is_some_and(|slot| self.allocator.holds(slot).iter().any(|hold| *hold.id == *hold_id(role)));
            !held || !unmet.contains(role)
        };
        let ended: Vec<(AgentId, Role)> =
            self.guarantees.held.keys().filter(|key| over(key)).cloned().collect();
        for key in ended {
            self.guarantees.held.remove(&key);
            self.release_hold(&key.0, &hold_id(&key.1));
        }
    }

    /// The status as its framework sees it: the end of a task that was preempted says so.
    pub(super) fn with_preemption(
        &self,
        framework_id: &FrameworkId,
        status: std::sync::Arc<TaskStatus>,
    ) -> std::sync::Arc<TaskStatus> {
        let key = (framework_id.clone(), status.task_id.clone());
        let Some(victim) = self.guarantees.victims.get(&key) else { return status };
        let ended = status.state == TaskState::Killed || status.state == TaskState::Failed;
        if !ended || victim.asked.is_some() || victim.spared || status.source == Source::Master {
            return status;
        }
        let why = format!("Preempted for what is guaranteed to role '{}'", victim.role);
        TaskStatus {
            reason: Some(Reason::ContainerPreempted),
            message: Some(why),
            ..TaskStatus::clone(&status)
        }
        .into()
    }

    /// How many tasks of others end for what is guaranteed to the role, or to one above it; and why none do.
    pub(super) fn preemption_for(&self, role: &Role) -> (u32, Option<Stuck>) {
        let concerns = |of: &Role| role.is_within(of);
        let victims = self.guarantees.victims.values().filter(|v| !v.spared && concerns(&v.role)).count();
        let stuck = self.guarantees.stuck.iter().filter(|(of, _)| concerns(of)).map(|(_, why)| *why).min();
        (u32::try_from(victims).unwrap_or(u32::MAX), stuck)
    }

    /// Since when the role, or one above it, has demand and less than is guaranteed to it, and when tasks of others may end for that. `None`
    /// if that time has come: then they do end, or need not, or cannot.
    pub(super) fn unmet_guarantee_of(&self, role: &Role) -> Option<(Time, Time)> {
        let after = self.config.preempt_after?;
        let unmet = self.guarantees.unmet.iter().filter(|(of, _)| role.is_within(of));
        let begins = unmet.map(|(_, since)| (*since, *since + after)).min();
        begins.filter(|(_, begins)| self.now < *begins)
    }
}
