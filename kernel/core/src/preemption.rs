//! Preemption for guarantees: which tasks end so that a role gets what its quota guarantees to it. A function of values.
//!
//! What is wanted of [`plan`], and which test of `preemption/tests.rs` shows it:
//!
//! 1. *Guarantees hold*: no role, nor one above it, is left with less than is guaranteed to it, and nothing is taken from the role
//!    that wants or those below it. `nothing_is_taken_below_a_guarantee`
//! 2. *No more than needed*: without any of the victims of an agent, less of what is wanted would be free there. And no more is freed
//!    than is missing beyond what is free already. `no_victim_is_superfluous`
//! 3. *It ends*, and plans nothing if nothing is missing. `nothing_is_planned_if_nothing_is_missing`
//! 4. *The order*: revocable work first, then roles furthest above their fair share, then the lowest priority, then the newest.
//!    `the_order_of_victims`, `small_roles_keep_their_tasks`, and for each victim `no_role_that_is_spared_has_a_higher_share`

mod holders;

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

pub use holders::{Holder, Holders};
use holders::{Lost, Shares};

use kernel_model::{quota::Quantities, resources::Scalar, roles::Role, time::Time};

/// A task that may end for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The role that its resources are allocated to.
    pub role: Role,
    /// What counts for quota.
    pub amounts: Quantities,
    /// Whether it also holds revocable resources: it was launched to end for others.
    pub revocable: bool,
    /// The position of its framework, in its role, among the [`Holders`].
    pub holder: usize,
    /// Tasks of lower priority end first.
    pub priority: i64,
    /// Newer tasks end first.
    pub launched_at: Time,
}

/// An agent whose resources may be offered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentWork {
    /// What is free, and may be offered to anybody.
    pub free: Quantities,
    /// The tasks that may end.
    pub tasks: Vec<Candidate>,
}

/// What is missing to the guarantee of a role that has demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The role.
    pub role: Role,
    /// What it consumes less than is guaranteed, and what has not been freed for it yet.
    pub missing: Quantities,
    /// What is free does not serve it: nobody has taken it for long, because no task fits into the parts that agents have.
    pub scattered: bool,
}

/// A role with a guarantee.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Standing {
    pub guarantee: Quantities,
    pub consumed: Quantities,
}

/// The situation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// The roles with guarantees.
    pub roles: BTreeMap<Role, Standing>,
    /// Who holds what.
    pub holders: Holders,
    /// Roles of which something is missing, the most important first. What goes to a role counts for the later claims of those above it.
    pub claims: Vec<Claim>,
    /// The agents.
    pub agents: Vec<AgentWork>,
}

/// The tasks of one agent that end for one role.
#[derive(Debug, Clone, PartialEq)]
pub struct Preemption {
    /// The position of the claim.
    pub claim: usize,
    /// The position of the agent.
    pub agent: usize,
    /// The positions of its tasks, in the order of the decision.
    pub tasks: Vec<usize>,
    /// What of the agent is for the role, free and freed.
    pub amounts: Quantities,
}

/// Decides which tasks end.
pub fn plan(problem: &Problem) -> Vec<Preemption> {
    let mut state = State {
        consumed: problem
            .roles
            .iter()
            .map(|(role, standing)| (role.clone(), standing.consumed.clone()))
            .collect(),
        taken: problem.agents.iter().map(|agent| vec![false; agent.tasks.len()]).collect(),
        free: problem.agents.iter().map(|agent| agent.free.clone()).collect(),
        lost: Lost::new(),
        problem,
    };
    let mut plan = Vec::new();
    // What goes to a role goes to those above it.
    let mut granted: Vec<(&Role, Quantities)> = Vec::new();
    for (at, claim) in problem.claims.iter().enumerate() {
        let mut missing = positive(&claim.missing);
        let below = granted.iter().filter(|(role, _)| role.is_within(&claim.role));
        below.for_each(|(_, amounts)| subtract(&mut missing, amounts));
        let mut grant = missing.clone();
        if !claim.scattered {
            state.use_free(&mut missing);
        }
        while !missing.is_empty() {
            let options = (0..problem.agents.len()).filter_map(|agent| state.option(claim, &missing, agent));
            let Some(best) = options.min_by(|a, b| a.rank.compare(&b.rank)) else { break };
            state.carry_out(claim, &best);
            subtract(&mut missing, &best.amounts);
            plan.push(Preemption { claim: at, agent: best.agent, tasks: best.tasks, amounts: best.amounts });
        }
        subtract(&mut grant, &missing);
        granted.push((&claim.role, grant));
    }
    plan
}

struct State<'p> {
    problem: &'p Problem,
    consumed: BTreeMap<Role, Quantities>,
    taken: Vec<Vec<bool>>,
    free: Vec<Quantities>,
    lost: Lost,
}

/// What can be done on one agent.
struct Choice {
    agent: usize,
    tasks: Vec<usize>,
    amounts: Quantities,
    rank: Rank,
}

/// How important a task is. The least important ones end first.
#[derive(Debug, Clone)]
struct Importance {
    revocable: bool,
    shares: Shares,
    priority: i64,
    launched_at: Time,
}

impl Importance {
    fn compare_kind(&self, other: &Importance) -> Ordering {
        (other.revocable.cmp(&self.revocable))
            .then_with(|| self.shares.compare(&other.shares))
            .then_with(|| self.priority.cmp(&other.priority))
    }

    fn compare(&self, other: &Importance) -> Ordering {
        self.compare_kind(other).then_with(|| other.launched_at.cmp(&self.launched_at))
    }
}

/// Choices of lower rank are better: those that cover more, then those whose most important victim is less important, then those
/// with fewer victims.
struct Rank {
    covered: Reverse<i64>,
    most_important: Importance,
    victims: usize,
    agent: usize,
}

impl Rank {
    fn compare(&self, other: &Rank) -> Ordering {
        (self.covered.cmp(&other.covered))
            .then_with(|| self.most_important.compare_kind(&other.most_important))
            .then_with(|| self.victims.cmp(&other.victims))
            .then_with(|| self.most_important.compare(&other.most_important))
            .then_with(|| self.agent.cmp(&other.agent))
    }
}

/// The tasks of one holder on an agent, the least important last.
type Queues = BTreeMap<(bool, usize), Vec<usize>>;

impl State<'_> {
    /// What is free needs no victims: the claim takes it first.
    fn use_free(&mut self, missing: &mut Quantities) {
        for free in &mut self.free {
            let part = least(missing, free);
            subtract(free, &part);
            subtract(missing, &part);
        }
    }

    /// The fewest tasks of an agent that free as much of what is missing as its tasks can.
    fn option(&self, claim: &Claim, missing: &Quantities, agent: usize) -> Option<Choice> {
        let tasks = &self.problem.agents[agent].tasks;
        let (mut victims, mut freed) = self.victims(claim, missing, agent);
        // A later victim may make an earlier one superfluous. The most important are spared first.
        for at in victims.iter().map(|(at, _)| *at).rev().collect::<Vec<_>>() {
            let mut rest = Quantities::default();
            let others = victims.iter().filter(|(other, _)| *other != at);
            others.for_each(|(other, _)| rest.add_all(&tasks[*other].amounts));
            if least(missing, &rest) == least(missing, &freed) {
                victims.retain(|(other, _)| *other != at);
                freed = rest;
            }
        }
        let amounts = least(missing, &freed);
        let rank = Rank {
            covered: Reverse(parts(missing, &amounts)?),
            most_important: victims.iter().map(|(_, task)| task).max_by(|a, b| a.compare(b))?.clone(),
            victims: victims.len(),
            agent,
        };
        Some(Choice { agent, tasks: victims.into_iter().map(|(at, _)| at).collect(), amounts, rank })
    }

    /// Takes the least important task of an agent that helps, one after the other, until nothing is missing or none helps. Each lowers the
    /// share of its role. Returns what they free, too.
    fn victims(
        &self,
        claim: &Claim,
        missing: &Quantities,
        agent: usize,
    ) -> (Vec<(usize, Importance)>, Quantities) {
        let tasks = &self.problem.agents[agent].tasks;
        let holders = &self.problem.holders;
        let (mut consumed, mut lost) = (self.consumed.clone(), self.lost.clone());
        let (mut victims, mut freed, mut gap) = (Vec::new(), Quantities::default(), missing.clone());
        let mut queues = self.queues(claim, missing, agent);
        let shares = |holder: usize, lost: &Lost| holders.shares(holder, lost);
        let mut known: BTreeMap<usize, Shares> =
            queues.keys().map(|(_, holder)| (*holder, shares(*holder, &lost))).collect();
        while !gap.is_empty() {
            let heads = queues.values().filter_map(|queue| queue.last().copied());
            let heads =
                heads.filter_map(|at| Some((at, tasks[at].importance(known.get(&tasks[at].holder)?))));
            let Some((at, importance)) = heads.min_by(|a, b| a.1.compare(&b.1)) else { break };
            let task = &tasks[at];
            queues.entry((task.revocable, task.holder)).or_default().pop();
            if least(&gap, &task.amounts).is_empty() || !self.may_take(&mut consumed, claim, task) {
                continue;
            }
            holders.lose(&mut lost, task.holder, &claim.role, &task.amounts);
            known.iter_mut().for_each(|(holder, known)| *known = shares(*holder, &lost));
            freed.add_all(&task.amounts);
            subtract(&mut gap, &task.amounts);
            victims.push((at, importance));
        }
        (victims, freed)
    }

    /// The tasks of an agent that may help, as those of one holder end: the last ones first.
    fn queues(&self, claim: &Claim, missing: &Quantities, agent: usize) -> Queues {
        let tasks = &self.problem.agents[agent].tasks;
        let mut queues = Queues::new();
        let helps = |at: &usize| {
            let task = &tasks[*at];
            let free_to_end = !self.taken[agent][*at] && !task.role.is_within(&claim.role);
            free_to_end && !least(missing, &task.amounts).is_empty()
        };
        for at in (0..tasks.len()).rev().filter(helps) {
            queues.entry((tasks[at].revocable, tasks[at].holder)).or_default().push(at);
        }
        for queue in queues.values_mut() {
            let order = |at: &usize| (tasks[*at].priority, Reverse(tasks[*at].launched_at));
            queue.sort_by_key(|at| Reverse(order(at)));
        }
        queues
    }

    /// Whether the task's role, and all roles above it that do not contain the claim's, keep what is guaranteed to them. Counts the
    /// task as gone if so.
    fn may_take(&self, consumed: &mut BTreeMap<Role, Quantities>, claim: &Claim, task: &Candidate) -> bool {
        let above = || self.problem.roles.iter().filter(|(role, _)| task.role.is_within(role));
        let concerned = || above().filter(|(role, _)| !claim.role.is_within(role));
        let keeps = concerned().all(|(role, standing)| {
            let mut left = consumed.get(role).cloned().unwrap_or_default();
            subtract_signed(&mut left, &task.amounts);
            standing.guarantee.iter().all(|(name, amount)| {
                task.amounts.get(name).unwrap_or_default() == Scalar(0)
                    || left.get(name).unwrap_or_default() >= amount
            })
        });
        if keeps {
            for (role, _) in concerned() {
                subtract_signed(consumed.entry(role.clone()).or_default(), &task.amounts);
            }
        }
        keeps
    }

    fn carry_out(&mut self, claim: &Claim, choice: &Choice) {
        let tasks = &self.problem.agents[choice.agent].tasks;
        let mut consumed = std::mem::take(&mut self.consumed);
        let mut freed = Quantities::default();
        for at in &choice.tasks {
            self.taken[choice.agent][*at] = true;
            freed.add_all(&tasks[*at].amounts);
            self.may_take(&mut consumed, claim, &tasks[*at]);
            let holders = &self.problem.holders;
            holders.lose(&mut self.lost, tasks[*at].holder, &claim.role, &tasks[*at].amounts);
        }
        self.consumed = consumed;
        subtract(&mut freed, &choice.amounts);
        self.free[choice.agent].add_all(&freed);
    }
}

impl Candidate {
    fn importance(&self, shares: &Shares) -> Importance {
        let (revocable, priority, launched_at) = (self.revocable, self.priority, self.launched_at);
        Importance { revocable, shares: shares.clone(), priority, launched_at }
    }
}

/// The smallest covered part of any missing name that is covered at all, in thousandths; `None` if nothing is covered.
fn parts(missing: &Quantities, covered: &Quantities) -> Option<i64> {
    let of = |(name, amount): (&std::sync::Arc<str>, Scalar)| {
        let part = i128::from(covered.get(name).unwrap_or_default().0) * 1000 / i128::from(amount.0.max(1));
        i64::try_from(part).unwrap_or(1000)
    };
    (!covered.is_empty()).then(|| missing.iter().map(of).sum())
}

fn positive(amounts: &Quantities) -> Quantities {
    amounts.iter().filter(|(_, amount)| amount.0 > 0).map(|(name, amount)| (name.clone(), amount)).collect()
}

/// The smaller amount of each name that both have.
pub(crate) fn least(a: &Quantities, b: &Quantities) -> Quantities {
    let smaller = a.iter().map(|(name, amount)| (name.clone(), amount.min(b.get(name).unwrap_or_default())));
    smaller.filter(|(_, amount)| amount.0 > 0).collect()
}

/// Subtracts, and drops what is used up.
pub(crate) fn subtract(from: &mut Quantities, amounts: &Quantities) {
    subtract_signed(from, amounts);
    *from = positive(from);
}

fn subtract_signed(from: &mut Quantities, amounts: &Quantities) {
    amounts.iter().for_each(|(name, amount)| from.add(name, Scalar(-amount.0)));
}

#[cfg(test)]
mod tests;
