//! One round: every candidate agent is offered to the clients whose turn it is.

use kernel_model::{ids::FrameworkId, resources::Resources, roles::Role, time::Time};

use super::{AgentRow, AgentSlot, Allocator, ClientSlot, Handles, Policy, amounts::Amounts, filters};

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
                if let Some(row) = self.agents.get_mut(slot)
                    && row.filters.expire(now)
                {
                    self.candidates.insert(slot);
                }
            }
        }
    }

    fn share_out(&mut self, now: Time, agent: AgentSlot, allocations: &mut Vec<Allocation>) {
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        if !row.active || !row.available_amounts.allocatable() {
            return;
        }
        // The order of turns is that at the agent's begin, as in Mesos: fairness is per agent.
        let turns = self.shares.take_turns();
        let mut moved = false;
        for &client in &turns {
            let Some(who) = self.shares.client(client) else { continue };
            if !admits(&self.policy, row, who.handles) {
                continue;
            }
            let (offer, amounts) = match prospective(row, &who.role, who.handles) {
                Prospect::All => (None, row.available_amounts),
                Prospect::Part(part) => {
                    let amounts = self.names.amounts(&part);
                    (Some(part), amounts)
                }
            };
            if !amounts.allocatable() {
                continue;
            }
            let unfiltered = offer.as_ref().unwrap_or(&row.available);
            let version = offer.is_none().then_some(row.version);
            let prospect =
                filters::Prospect { client, generation: who.generation, offer: unfiltered, version };
            if row.filters.cover(now, &prospect) {
                continue;
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
            self.version += 1;
            row.version = self.version;
            let (framework, role) = (who.framework.clone(), who.role.clone());
            let resources = taken.into_allocated_to(&role);
            let client = ClientSlot(client);
            allocations.push(Allocation { agent, client, framework, role, resources });
            self.shares.charge(client.0, amounts);
            moved = true;
            if !row.available_amounts.allocatable() {
                break;
            }
        }
        if !moved {
            self.shares.return_turns(turns);
        }
    }
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
