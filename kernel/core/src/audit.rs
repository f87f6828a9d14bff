//! The kernel's invariants (see ARCHITECTURE.md), checked by code that shares nothing with what keeps them: it reads the
//! master's tables and counts again.

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

use crate::master::{Agent, Master, RecordKey};

/// One breach of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Which invariant.
    pub invariant: &'static str,
    /// Of what.
    pub subject: String,
    /// How.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.subject, self.message)
    }
}

/// Every breach that the master's tables show. Empty is as it should be.
pub fn audit(master: &Master) -> Vec<Note> {
    let mut notes = Notes::default();
    for agent in master.agents() {
        capacity(agent, &mut notes);
        usage(master, agent, &mut notes);
        offers_of_agent(master, agent, &mut notes);
        books(master, agent, &mut notes);
        membership(master, agent, &mut notes);
    }
    tasks(master, &mut notes);
    offers(master, &mut notes);
    streams(master, &mut notes);
    notes.0
}

#[derive(Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, invariant: &'static str, subject: impl fmt::Display, message: impl Into<String>) {
        self.0.push(Note { invariant, subject: subject.to_string(), message: message.into() });
    }
}

fn sum<'a>(parts: impl IntoIterator<Item = &'a Resources>) -> Resources {
    let mut all = Resources::new();
    for part in parts {
        all += part;
    }
    all
}

/// INV-01: what is in use and what is offered of an agent never exceed what it has.
fn capacity(agent: &Agent, notes: &mut Notes) {
    let held = sum(agent.allocated.values().chain([&agent.offered])).unallocated();
    if !agent.info.resources.contains(&held) {
        notes.add("INV-01", &agent.id, format!("{held} of {}", agent.info.resources));
    }
}

/// INV-02: what a framework holds on an agent is the sum of its unfinished tasks and its executors there. So a terminal
/// task holds nothing, and an executor is charged once.
fn usage(master: &Master, agent: &Agent, notes: &mut Notes) {
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
            notes.add("INV-02", &agent.id, format!("{framework} holds {counted}, booked is {booked}"));
        }
    }
}

/// INV-03: a task is on exactly one agent, that agent is present and lists it, and nothing else is listed.
fn tasks(master: &Master, notes: &mut Notes) {
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
                    notes.add("INV-03", id, format!("it is on {}, listed by {other:?}", task.info.agent_id));
                }
                None => notes.add("INV-03", id, format!("{} does not list it", task.info.agent_id)),
            }
            waits_for_acknowledgement(id.as_str(), task, notes);
            if framework.unreachable_tasks.iter().any(|t| t.info.task_id == *id) {
                notes.add("INV-07", id, "it is reachable and unreachable at once");
            }
        }
    }
    for ((framework, task), agents) in listed {
        notes.add("INV-03", task, format!("{agents:?} list it, {framework} does not know it"));
    }
}

/// INV-05: a terminal task stays in the table only while its framework has something to acknowledge.
fn waits_for_acknowledgement(id: &str, task: &kernel_model::task::Task, notes: &mut Notes) {
    let pending = matches!(task.unacknowledged, Some((_, Some(_))));
    if task.state.is_terminal() && !pending {
        notes.add("INV-05", id, format!("{:?} and nothing to acknowledge", task.state));
    }
}

/// INV-04: an offer is of an active agent to a connected framework, in a role that it is in.
fn offers(master: &Master, notes: &mut Notes) {
    for offer in master.offers(None) {
        let framework = master.framework(&offer.framework_id);
        if !framework.is_some_and(|f| f.stream().is_some() && f.info.roles.contains(&offer.role)) {
            notes.add("INV-04", &offer.id, format!("{} cannot take it", offer.framework_id));
        }
        if !master.agent(&offer.agent_id).is_some_and(Agent::is_active) {
            notes.add("INV-04", &offer.id, format!("{} is not active", offer.agent_id));
        }
        if offer.resources.allocation_roles() != [&offer.role] {
            notes.add("INV-04", &offer.id, "its resources are not allocated to its role");
        }
    }
}

/// INV-06: what the agent has on offer is the sum of its offers.
fn offers_of_agent(master: &Master, agent: &Agent, notes: &mut Notes) {
    let offers = master.offers(None).filter(|o| o.agent_id == agent.id).map(|o| &o.resources);
    let counted = sum(offers);
    if counted != agent.offered {
        notes.add("INV-06", &agent.id, format!("offers hold {counted}, booked is {}", agent.offered));
    }
}

/// INV-08: the allocator's books say the same as the agent's, of what is used and of what is free.
fn books(master: &Master, agent: &Agent, notes: &mut Notes) {
    let held = sum(agent.allocated.values().chain([&agent.offered])).unallocated();
    let used = master.allocator().used(agent.slot);
    if used != Some(&held) {
        notes.add("INV-08", &agent.id, format!("held is {held}, the allocator has {used:?}"));
    }
    let free = agent.info.resources.saturating_sub(&held);
    let available = master.allocator().available(agent.slot);
    if available != Some(&free) {
        notes.add("INV-08", &agent.id, format!("free is {free}, the allocator has {available:?}"));
    }
}

/// INV-09: a present agent is in the registry, neither absent nor gone; it is connected exactly where its link leads back
/// to it; and it holds nothing for frameworks that are not there.
fn membership(master: &Master, agent: &Agent, notes: &mut Notes) {
    if master.registry().get(&RecordKey::Agent(agent.id.clone())).is_none() {
        notes.add("INV-09", &agent.id, "it is not in the registry");
    }
    if master.registry().get(&RecordKey::GoneAgent(agent.id.clone())).is_some() {
        notes.add("INV-09", &agent.id, "it is gone");
    }
    if master.absent_agents().any(|a| a.info.id.as_ref() == Some(&agent.id)) {
        notes.add("INV-09", &agent.id, "it is present and absent at once");
    }
    let leads_back: Vec<_> =
        master.links().filter(|(_, id)| *id == Some(&agent.id)).map(|(l, _)| l).collect();
    let expected: Vec<_> = agent.link.into_iter().collect();
    if leads_back != expected || agent.link.is_some() != (agent.state == AgentState::Connected) {
        notes.add(
            "INV-09",
            &agent.id,
            format!("{:?} on {:?}, led to by {leads_back:?}", agent.state, agent.link),
        );
    }
    let holders = agent.allocated.keys().chain(agent.tasks.keys());
    for framework in holders.chain(agent.executors.keys().map(|(framework, _)| framework)) {
        if master.framework(framework).is_none() {
            notes.add("INV-09", &agent.id, format!("{framework} has ended and still holds something"));
        }
    }
}

/// INV-10: a framework listens on exactly one stream while it is connected, and on none otherwise.
fn streams(master: &Master, notes: &mut Notes) {
    for framework in master.frameworks() {
        let open: Vec<_> = master.streams().filter(|(_, id)| **id == framework.id).map(|(s, _)| s).collect();
        if open != framework.stream().into_iter().collect::<Vec<_>>() {
            notes.add("INV-10", &framework.id, format!("{:?} with the streams {open:?}", framework.state));
        }
    }
    for (stream, framework) in master.streams() {
        if master.framework(framework).is_none() {
            notes.add("INV-10", stream, format!("it belongs to {framework}, which has ended"));
        }
    }
}
