//! The kernel's invariants (see ARCHITECTURE.md), checked independently of the code that maintains them: everything is
//! recomputed from the master's tables.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use kernel_model::{
    agent::AgentState,
    ids::{AgentId, FrameworkId},
    resources::Resources,
};

use crate::master::{Agent, Master, RecordKey, consumption};

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Violation {
    /// The number, as in `INV-01`.
    pub invariant: &'static str,
    /// The id of the agent, task, offer, framework or stream.
    pub subject: String,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.subject, self.message)
    }
}

/// All violations in the master's tables.
pub fn audit(master: &Master) -> Vec<Violation> {
    let mut violations = Violations::default();
    for agent in master.agents() {
        capacity(agent, &mut violations);
        usage(master, agent, &mut violations);
        offers_of_agent(master, agent, &mut violations);
        allocator_ledger(master, agent, &mut violations);
        membership(master, agent, &mut violations);
    }
    tasks(master, &mut violations);
    offers(master, &mut violations);
    streams(master, &mut violations);
    reservations(master, &mut violations);
    quotas(master, &mut violations);
    violations.0
}

#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, invariant: &'static str, subject: impl fmt::Display, message: impl Into<String>) {
        self.0.push(Violation { invariant, subject: subject.to_string(), message: message.into() });
    }
}

fn sum<'a>(parts: impl IntoIterator<Item = &'a Resources>) -> Resources {
    let mut all = Resources::new();
    for part in parts {
        all += part;
    }
    all
}

/// INV-01: resources in use and on offer of an agent never exceed its total.
fn capacity(agent: &Agent, violations: &mut Violations) {
    let held = sum(agent.allocated.values().chain([&agent.offered])).unallocated();
    if !agent.total().contains(&held) {
        violations.add("INV-01", &agent.id, format!("{held} of {}", agent.total()));
    }
}

/// INV-02: what a framework holds on an agent is the sum of its unfinished tasks and its executors there. So a terminal
/// task holds nothing, and an executor is charged once.
fn usage(master: &Master, agent: &Agent, violations: &mut Violations) {
    let mut expected: BTreeMap<&FrameworkId, Resources> = BTreeMap::new();
    for framework in master.frameworks() {
        for task in framework.tasks.values().filter(|t| t.info.agent_id == agent.id) {
            if !task.state.is_terminal() {
                *expected.entry(&framework.id).or_default() += &task.info.resources;
            }
        }
    }
    for ((framework, _), executor) in &agent.executors {
        *expected.entry(framework).or_default() += &executor.resources;
    }
    expected.retain(|_, held| !held.is_empty());
    for framework in expected.keys().copied().chain(agent.allocated.keys()).collect::<BTreeSet<_>>() {
        let nothing = Resources::new();
        let counted = expected.get(framework).unwrap_or(&nothing);
        let booked = agent.allocated.get(framework).unwrap_or(&nothing);
        if counted != booked {
            violations.add("INV-02", &agent.id, format!("{framework} holds {counted}, booked is {booked}"));
        }
    }
}

/// INV-03: a task is on exactly one agent; that agent is present and lists it, and lists nothing else.
fn tasks(master: &Master, violations: &mut Violations) {
    let mut listed: BTreeMap<(&FrameworkId, &str), Vec<&AgentId>> = BTreeMap::new();
    for agent in master.agents() {
        for (framework, tasks) in &agent.tasks {
            for task in tasks {
                listed.entry((framework, task.as_str())).or_default().push(&agent.id);
            }
        }
    }
    for framework in master.frameworks() {
        for (id, task) in &framework.tasks {
            match listed.remove(&(&framework.id, id.as_str())).as_deref() {
                Some([one]) if **one == task.info.agent_id => {}
                Some(other) => {
                    violations.add(
                        "INV-03",
                        id,
                        format!("it is on {}, listed by {other:?}", task.info.agent_id),
                    );
                }
                None => violations.add("INV-03", id, format!("{} does not list it", task.info.agent_id)),
            }
            unacknowledged_terminal_task(id.as_str(), task, violations);
            if framework.unreachable_tasks.iter().any(|t| t.info.task_id == *id) {
                violations.add("INV-07", id, "it is reachable and unreachable at once");
            }
        }
    }
    for ((framework, task), agents) in listed {
        violations.add("INV-03", task, format!("{agents:?} list it, {framework} does not know it"));
    }
}

/// INV-05: a terminal task stays in the table only while an update of it is unacknowledged.
fn unacknowledged_terminal_task(id: &str, task: &kernel_model::task::Task, violations: &mut Violations) {
    let pending = matches!(task.unacknowledged, Some((_, Some(_))));
    if task.state.is_terminal() && !pending {
        violations.add("INV-05", id, format!("{:?} and nothing to acknowledge", task.state));
    }
}

/// INV-04: an offer is of an active agent, to a connected framework, in one of its roles.
fn offers(master: &Master, violations: &mut Violations) {
    for offer in master.offers(None) {
        let framework = master.framework(&offer.framework_id);
        if !framework.is_some_and(|f| f.stream().is_some() && f.info.roles.contains(&offer.role)) {
            violations.add("INV-04", &offer.id, format!("{} cannot take it", offer.framework_id));
        }
        if !master.agent(&offer.agent_id).is_some_and(Agent::is_active) {
            violations.add("INV-04", &offer.id, format!("{} is not active", offer.agent_id));
        }
        if offer.resources.allocation_roles() != [&offer.role] {
            violations.add("INV-04", &offer.id, "its resources are not allocated to its role");
        }
    }
}

/// INV-06: the offered resources of an agent are the sum of its offers.
fn offers_of_agent(master: &Master, agent: &Agent, violations: &mut Violations) {
    let offers = master.offers(None).filter(|o| o.agent_id == agent.id).map(|o| &o.resources);
    let counted = sum(offers);
    if counted != agent.offered {
        violations.add("INV-06", &agent.id, format!("offers hold {counted}, booked is {}", agent.offered));
    }
}

/// INV-08: the allocator's ledger agrees with the agent's, on used and on available resources.
fn allocator_ledger(master: &Master, agent: &Agent, violations: &mut Violations) {
    let held = sum(agent.allocated.values().chain([&agent.offered])).unallocated();
    let used = master.allocator().used(agent.slot);
    if used != Some(&held) {
        violations.add("INV-08", &agent.id, format!("held is {held}, the allocator has {used:?}"));
    }
    let free = agent.total().saturating_sub(&held);
    let available = master.allocator().available(agent.slot);
    if available != Some(&free) {
        violations.add("INV-08", &agent.id, format!("free is {free}, the allocator has {available:?}"));
    }
}

/// INV-09: a present agent is in the registry, neither absent nor gone. It is connected exactly if its link maps back
/// to it, and it holds nothing for frameworks that ended.
fn membership(master: &Master, agent: &Agent, violations: &mut Violations) {
    if master.registry().get(&RecordKey::Agent(agent.id.clone())).is_none() {
        violations.add("INV-09", &agent.id, "it is not in the registry");
    }
    if master.registry().get(&RecordKey::GoneAgent(agent.id.clone())).is_some() {
        violations.add("INV-09", &agent.id, "it is gone");
    }
    if master.absent_agents().any(|a| a.info.id.as_ref() == Some(&agent.id)) {
        violations.add("INV-09", &agent.id, "it is present and absent at once");
    }
    let leads_back: Vec<_> =
        master.links().filter(|(_, id)| *id == Some(&agent.id)).map(|(l, _)| l).collect();
    let expected: Vec<_> = agent.link.into_iter().collect();
    if leads_back != expected || agent.link.is_some() != (agent.state == AgentState::Connected) {
        violations.add(
            "INV-09",
            &agent.id,
            format!("{:?} on {:?}, led to by {leads_back:?}", agent.state, agent.link),
        );
    }
    let holders = agent.allocated.keys().chain(agent.tasks.keys());
    for framework in holders.chain(agent.executors.keys().map(|(framework, _)| framework)) {
        if master.framework(framework).is_none() {
            violations.add("INV-09", &agent.id, format!("{framework} has ended and still holds something"));
        }
    }
}

/// INV-10: a connected framework has exactly one stream, any other framework has none.
fn streams(master: &Master, violations: &mut Violations) {
    for framework in master.frameworks() {
        let open: Vec<_> = master.streams().filter(|(_, id)| **id == framework.id).map(|(s, _)| s).collect();
        if open != framework.stream().into_iter().collect::<Vec<_>>() {
            violations.add(
                "INV-10",
                &framework.id,
                format!("{:?} with the streams {open:?}", framework.state),
            );
        }
    }
    for (stream, framework) in master.streams() {
        if master.framework(framework).is_none() {
            violations.add("INV-10", stream, format!("it belongs to {framework}, which has ended"));
        }
    }
}

/// INV-13: what is reserved is allocated and offered to its role and those below it alone.
fn reservations(master: &Master, violations: &mut Violations) {
    for agent in master.agents() {
        for resource in agent.allocated.values().chain([&agent.offered]).flat_map(Resources::iter) {
            let Some(role) = &resource.allocation_role else { continue };
            if !resource.is_allocatable_to(role) {
                violations.add("INV-13", &agent.id, format!("{resource} is allocated to {role}"));
            }
        }
    }
}

/// INV-11: the allocator counts for each role with a quota what is allocated or offered to it and reserved for it, and guarantees
/// and limits contradict each other nowhere.
fn quotas(master: &Master, violations: &mut Violations) {
    for (role, quota) in master.quotas() {
        let held = master.agents().flat_map(|agent| agent.allocated.values().chain([&agent.offered]));
        let totals = master.agents().map(|agent| &agent.info.resources);
        let (counted, booked) = (consumption(role, held, totals), master.allocator().consumed(role));
        if counted != booked {
            violations.add("INV-11", role, format!("it consumes {counted}, the allocator has {booked}"));
        }
        if !quota.allows(&quota.guarantees) {
            let (guarantees, limits) = (&quota.guarantees, &quota.limits);
            violations.add("INV-11", role, format!("{guarantees} are guaranteed, the limits are {limits}"));
        }
    }
}
