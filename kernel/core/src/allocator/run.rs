//! One round: every candidate agent is offered to the clients whose turn it is.

use std::time::Duration;

use kernel_model::{
    ids::FrameworkId,
    resources::{Resource, Resources, Scalar, Value},
    roles::Role,
    time::Time,
};

use super::{
    AgentRow, AgentSlot, Allocator, ClientSlot, Handles, Policy,
    amounts::{Amounts, Names},
    filters,
};

/// How long what is left over may lie idle for others' sake: as long as the shortest refusal.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(1);

/// What one round gives to a client on an agent. It is charged already.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Where.
    pub agent: AgentSlot,
    /// To whom.
    pub client: ClientSlot,
    /// The client's framework.
    pub framework: FrameworkId,
    /// The client's role.
    pub role: Role,
    /// What, with the role that it is allocated to.
    pub resources: Resources,
}

impl Allocator {
    /// Hands out what is free on the agents that changed, or that somebody may want now.
    pub fn run(&mut self, now: Time) -> Vec<Allocation> {
        self.expire_filters(now);
        let mut allocations = Vec::new();
        if !self.has_candidates() {
            return allocations;
        }
        // Guarantees of quota have their place here: a round over the same agents for the roles below their guarantee,
        // before what is left is shared.
        let some = std::mem::take(&mut self.candidates);
        if std::mem::take(&mut self.all_are_candidates) {
            for agent in 0..self.agents.end() {
                self.share_out(now, AgentSlot(agent), &mut allocations);
            }
        } else {
            for agent in some {
                self.share_out(now, AgentSlot(agent), &mut allocations);
            }
        }
        allocations
    }

    fn expire_filters(&mut self, now: Time) {
        while let Some(entry) = self.expiries.first_entry() {
            if *entry.key() > now {
                break;
            }
            for slot in entry.remove() {
                if let Some(row) = self.agents.get_mut(slot) {
                    let waited = row.held_until.is_some_and(|until| until <= now);
                    if row.filters.expire(now) || waited {
                        self.candidates.insert(slot);
                    }
                }
            }
        }
    }

    fn share_out(&mut self, now: Time, agent: AgentSlot, allocations: &mut Vec<Allocation>) {
        if !self.is_offerable(agent) {
            return;
        }
        // The order of turns is that at the agent's begin, as in Mesos: fairness is per agent.
        let turns = self.shares.take_turns();
        let first = allocations.len();
        let mut held_back = false;
        for pass in [Pass::FairPart, Pass::Rest] {
            if pass == Pass::Rest && !held_back {
                break;
            }
            for &client in &turns {
                if pass == Pass::Rest && self.waits_for_others(now, agent, client) {
                    continue;
                }
                let Some((taken, amounts)) = self.take(now, agent, client, pass, &mut held_back) else {
                    continue;
                };
                self.shares.charge(client, amounts);
                let Some(who) = self.shares.client(client) else { continue };
                let resources = taken.into_allocated_to(&who.role);
                match allocations[first..].iter_mut().find(|a| a.client.0 == client) {
                    Some(allocation) => allocation.resources += &resources,
                    None => {
                        let (framework, role) = (who.framework.clone(), who.role.clone());
                        allocations.push(Allocation {
                            agent,
                            client: ClientSlot(client),
                            framework,
                            role,
                            resources,
                        });
                        self.shares.change_pending(client, 1);
                    }
                }
                if !self.is_offerable(agent) {
                    return;
                }
            }
        }
        if allocations.len() == first {
            self.shares.return_turns(turns);
        }
    }

    /// Whether what is left must wait for clients that have not answered an offer yet: they may be below their fair part
    /// once they have. It waits for [`LEFTOVER_WAIT_MAX`] at most, for some never answer.
    fn waits_for_others(&mut self, now: Time, agent: AgentSlot, client: u32) -> bool {
        if self.shares.others_pending(client) == 0 {
            return false;
        }
        let Some(row) = self.agents.get_mut(agent.0) else { return false };
        let until = *row.held_until.get_or_insert_with(|| {
            let until = now + LEFTOVER_WAIT_MAX;
            self.expiries.entry(until).or_default().insert(agent.0);
            until
        });
        if now >= until {
            return false;
        }
        self.held.insert(agent.0);
        true
    }

    fn is_offerable(&self, agent: AgentSlot) -> bool {
        let small = self.shares.takes_small_offers();
        let enough =
            |row: &AgentRow| row.available_amounts.allocatable() || (small && !row.available.is_empty());
        self.agents.get(agent.0).is_some_and(|row| row.active && enough(row))
    }

    /// Takes from an agent what a client gets in this pass; `held_back` is set where it could have had more.
    fn take(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        pass: Pass,
        held_back: &mut bool,
    ) -> Option<(Resources, Amounts)> {
        let row = self.agents.get_mut(agent.0)?;
        let who = self.shares.client(client)?;
        if !admits(&self.policy, row, who.handles) || !who.wishes.admit(&row.place) {
            return None;
        }
        let (mut offer, mut amounts) = match prospective(row, &who.role, who.handles) {
            Prospect::All => (None, row.available_amounts),
            Prospect::Part(part) => {
                let amounts = self.names.amounts(&part);
                (Some(part), amounts)
            }
        };
        if !who.wishes.large_enough(offer.as_ref().unwrap_or(&row.available), amounts.allocatable()) {
            return None;
        }
        let version = offer.is_none().then_some(row.version);
        let generation = who.generation;
        let whole = offer.as_ref().unwrap_or(&row.available);
        if row.filters.cover(now, &filters::Prospect { client, generation, offer: whole, version }) {
            return None;
        }
        if pass == Pass::FairPart && self.shares.wanting() > 1 {
            let room = self.shares.room(client);
            if !amounts.fit(&room.amounts) {
                *held_back = true;
                let part = fair_part(&room.amounts, &self.names, whole);
                let part_amounts = self.names.amounts(&part);
                let refused = filters::Prospect { client, generation, offer: &part, version: None };
                if !part_amounts.is_useful_part_of(&amounts) || !who.wishes.large_enough(&part, true) {
                    return None;
                }
                match row.filters.cover(now, &refused) {
                    false => (offer, amounts) = (Some(part), part_amounts),
                    // It wants more at once, or nothing: one that has little yet sees the whole.
                    true if room.hungry => {}
                    true => return None,
                }
            }
        }
        let taken = match offer {
            None => {
                row.available_amounts = Amounts::default();
                std::mem::take(&mut row.available)
            }
            Some(part) => {
                row.available.remove_all(&part);
                row.available_amounts = self.names.amounts(&row.available);
                part
            }
        };
        row.used += &taken;
        if pass == Pass::Rest || !row.available_amounts.allocatable() {
            row.held_until = None;
        }
        self.version += 1;
        row.version = self.version;
        Some((taken, amounts))
    }
}

/// An agent goes round twice: nobody gets more than its fair part while others may want the rest; then what was refused
/// goes to whom it may, so that nothing lies idle for fairness' sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    FairPart,
    Rest,
}

/// The part of an offer that fits the room that a client has below its fair part of the pool. What is reserved goes
/// whole, for nobody else may have it; what does not count for fairness goes with the rest, in proportion.
fn fair_part(room: &Amounts, names: &Names, offer: &Resources) -> Resources {
    let fraction = offer
        .totals()
        .filter_map(|(name, amount)| Some(room.of(names, name)?.min(amount.0) as f64 / amount.0 as f64))
        .fold(0.0, f64::max);
    let mut part = Resources::new();
    for resource in offer.iter().filter(|r| !r.is_indivisible() && !r.shared) {
        let value = match &resource.value {
            _ if !resource.reservations.is_empty() => resource.value.clone(),
            Value::Scalar(amount) => match room.of(names, &resource.name) {
                Some(room) => Value::Scalar(Scalar(amount.0.min(room))),
                None => Value::Scalar(Scalar((amount.0 as f64 * fraction) as i64)),
            },
            Value::Ranges(ranges) => {
                let count = (ranges.count() as f64 * fraction) as u64;
                Value::Ranges(ranges.lowest(count).unwrap_or_default())
            }
            Value::Set(_) => continue,
        };
        part.add(Resource { value, ..resource.clone() });
    }
    part
}

enum Prospect {
    All,
    Part(Resources),
}

/// Whether a framework that handles this may see the agent at all.
pub(super) fn admits(policy: &Policy, row: &AgentRow, handles: Handles) -> bool {
    !policy.filter_gpu_agents || !row.has_gpus || handles.gpus
}

/// What of the agent's free resources the client may have.
fn prospective(row: &AgentRow, role: &Role, handles: Handles) -> Prospect {
    if row.plain {
        return Prospect::All;
    }
    Prospect::Part(row.available.filter(|r| {
        r.is_allocatable_to(role)
            && (handles.revocable || !r.revocable)
            && (handles.shared || !r.shared)
            && (handles.refined || r.reservations.len() <= 1)
    }))
}
