//! Who is offered what: hierarchical dominant-resource fairness over the role tree and, in each role, its frameworks.
//!
//! The allocator keeps its own dense ledger (slots instead of ids, fixed arrays instead of maps) of what every client,
//! that is a framework in a role, holds: offered or in use. It is event-driven: whatever frees resources or adds demand
//! makes agents candidates, and [`Allocator::run`] hands out those agents at once (docs/decisions/0003). What it hands
//! out is coarse, as in Mesos: all that is free on an agent goes to the client that is furthest below its share, unless
//! that would lift it over its fair part while others want something too; then it gets that part, and the next the rest.

mod amounts;
mod explain;
mod filters;
mod run;
mod shares;
mod slab;
mod wishes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kernel_model::{agent::AgentInfo, ids::FrameworkId, resources::Resources, roles::Role, time::Time};

pub use explain::WaitReason;
pub use run::Allocation;
pub use wishes::{ClientWishes, CompiledWishes};

use amounts::{Amounts, Names};
use filters::Filters;
use shares::Shares;
use slab::Slab;
use wishes::Place;

/// An agent in the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentSlot(pub(crate) u32);

/// A framework in one of its roles, in the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientSlot(pub(crate) u32);

/// What a framework can take, from its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handles {
    /// Agents with GPUs.
    pub gpus: bool,
    /// Resources that may be taken away.
    pub revocable: bool,
    /// Resources that several tasks use.
    pub shared: bool,
    /// Resources with more than one reservation.
    pub refined: bool,
}

/// The rules of allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Keep agents with GPUs from frameworks that do not know them.
    pub filter_gpu_agents: bool,
    /// See `MasterConfig::shortest_refusal`.
    pub shortest_refusal: Duration,
}

#[derive(Debug, Clone)]
struct AgentRow {
    total: Resources,
    /// Offered or in use, without allocation roles.
    used: Resources,
    /// `total` without `used`.
    available: Resources,
    /// More is used than there is, since `total` became less: what is given back may not be available.
    overdrawn: bool,
    available_amounts: Amounts,
    /// Whether all that is available may go to any client: nothing reserved, revocable or shared.
    plain: bool,
    has_gpus: bool,
    /// What constraints of frameworks look at.
    place: Place,
    active: bool,
    /// Grows whenever `available` changes, so that verdicts of filters can be remembered.
    version: u64,
    filters: Filters,
    /// Since something was left over here that others may want: until when it waits for them.
    held_until: Option<Time>,
}

/// The ledger and the order of turns.
#[derive(Debug)]
pub struct Allocator {
    policy: Policy,
    names: Names,
    agents: Slab<AgentRow>,
    shares: Shares,
    /// Agents to look at in the next round.
    candidates: BTreeSet<u32>,
    /// Every agent is to be looked at.
    all_are_candidates: bool,
    /// Agents with something left over that waits for answers.
    held: BTreeSet<u32>,
    /// Agents whose filters end at these times.
    expiries: BTreeMap<Time, BTreeSet<u32>>,
    version: u64,
}

impl Allocator {
    /// An empty pool.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            names: Names::default(),
            agents: Slab::default(),
            shares: Shares::default(),
            candidates: BTreeSet::new(),
            all_are_candidates: false,
            held: BTreeSet::new(),
            expiries: BTreeMap::new(),
            version: 0,
        }
    }

    /// An agent joins the pool with nothing in use; see [`Allocator::charge`].
    pub fn add_agent(&mut self, total: &Resources, active: bool) -> AgentSlot {
        let row = AgentRow {
            total: Resources::new(),
            used: Resources::new(),
            available: Resources::new(),
            overdrawn: false,
            available_amounts: Amounts::default(),
            plain: true,
            has_gpus: false,
            place: Place::default(),
            active,
            version: 0,
            filters: Filters::default(),
            held_until: None,
        };
        let slot = AgentSlot(self.agents.insert(row));
        self.set_total(slot, total);
        slot
    }

    /// An agent leaves the pool; all that was charged on it must have been recovered.
    pub fn remove_agent(&mut self, agent: AgentSlot) {
        if let Some(row) = self.agents.remove(agent.0) {
            let amounts = self.names.amounts(&row.total);
            self.shares.change_pool(Amounts::default(), amounts);
        }
        self.candidates.remove(&agent.0);
        self.held.remove(&agent.0);
    }

    /// An agent has other resources than before.
    pub fn set_total(&mut self, agent: AgentSlot, total: &Resources) {
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        let before = self.names.amounts(&row.total);
        let after = self.names.amounts(total);
        row.total = total.clone();
        row.has_gpus = total.iter().any(|r| &*r.name == "gpus");
        self.shares.change_pool(after, before);
        self.refresh_available(agent);
    }

    /// Where an agent is, for frameworks that want some agents only.
    pub fn set_agent_place(&mut self, agent: AgentSlot, info: &AgentInfo) {
        let place = Place { hostname: info.hostname.clone(), attributes: info.attributes.clone() };
        if let Some(row) = self.agents.get_mut(agent.0)
            && row.place != place
        {
            row.place = place;
            self.candidates.insert(agent.0);
        }
    }

    /// Whether an agent may be offered.
    pub fn set_agent_active(&mut self, agent: AgentSlot, active: bool) {
        if let Some(row) = self.agents.get_mut(agent.0)
            && row.active != active
        {
            row.active = active;
            if active {
                self.candidates.insert(agent.0);
            }
        }
    }

    /// A framework subscribes in a role; it gets nothing before [`Allocator::set_client_active`].
    pub fn add_client(&mut self, framework: &FrameworkId, role: &Role, handles: Handles) -> ClientSlot {
        ClientSlot(self.shares.add_client(framework, role, handles))
    }

    /// A framework leaves a role; all that it was charged must have been recovered.
    pub fn remove_client(&mut self, client: ClientSlot) {
        self.shares.remove_client(client.0);
    }

    /// Whether the client wants offers. One that begins to sees every agent.
    pub fn set_client_active(&mut self, client: ClientSlot, active: bool) {
        if self.shares.set_active(client.0, active) && active {
            self.consider_all();
        }
    }

    /// The framework changed its capabilities.
    pub fn set_client_handles(&mut self, client: ClientSlot, handles: Handles) {
        if self.shares.set_handles(client.0, handles) {
            // What would be offered may differ now, so no verdict of a filter stands.
            for (_, row) in self.agents.iter_mut() {
                self.version += 1;
                row.version = self.version;
            }
            self.consider_all();
        }
    }

    /// The framework says anew which offers it wants in this role.
    pub fn set_client_wishes(&mut self, client: ClientSlot, wishes: ClientWishes) {
        if self.shares.set_wishes(client.0, wishes) {
            self.consider_all();
        }
    }

    /// Sets the weight of a role's subtree among its siblings.
    pub fn set_weight(&mut self, role: &Role, weight: f64) {
        self.shares.set_weight(role, weight);
        self.consider_all();
    }

    /// Something on the agent is held by the client without having been offered now: found at re-registration.
    pub fn charge(&mut self, agent: AgentSlot, client: ClientSlot, resources: &Resources) {
        let amounts = self.names.amounts(resources);
        self.shares.charge(client.0, amounts);
        if let Some(row) = self.agents.get_mut(agent.0) {
            row.used += &resources.unallocated();
        }
        self.refresh_available(agent);
    }

    /// Something that the client held on the agent is free again.
    pub fn recover(&mut self, agent: AgentSlot, client: ClientSlot, resources: &Resources) {
        let amounts = self.names.amounts(resources);
        self.shares.discharge(client.0, amounts);
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        let free = resources.unallocated();
        row.used.remove_all(&free);
        if row.overdrawn {
            return self.refresh_available(agent);
        }
        row.available += &free;
        self.available_changed(agent);
    }

    /// The client does not want these resources, or a part of them, for a while. `progress` is whether it took
    /// something of the offer: then zero seconds really mean none.
    pub fn refuse(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: ClientSlot,
        resources: &Resources,
        refuse: Duration,
        progress: bool,
    ) {
        let floor = self.policy.shortest_refusal;
        let length = match (refuse.is_zero(), progress) {
            (true, true) => return,
            _ => refuse.max(floor),
        };
        let Some(generation) = self.shares.generation(client.0) else { return };
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        let until = filters::round_up(now + length, length);
        row.filters.add(now, client.0, generation, until, resources.unallocated());
        self.expiries.entry(until).or_default().insert(agent.0);
    }

    /// The client has answered an allocation, or it was taken back.
    pub fn answered(&mut self, client: ClientSlot) {
        self.shares.change_pending(client.0, -1);
        self.candidates.append(&mut self.held);
    }

    /// The client takes back all that it refused.
    pub fn clear_filters(&mut self, client: ClientSlot) {
        if self.shares.renew(client.0) {
            self.consider_all();
        }
    }

    /// When the next filter ends.
    pub fn next_deadline(&self) -> Option<Time> {
        self.expiries.first_key_value().map(|(time, _)| *time)
    }

    /// Whether [`Allocator::run`] has something to look at.
    pub fn has_candidates(&self) -> bool {
        self.all_are_candidates || !self.candidates.is_empty()
    }

    /// What the client holds, as a share of the pool, not divided by any weight.
    pub fn dominant_share(&self, client: ClientSlot) -> f64 {
        self.shares.dominant_share(client.0)
    }

    /// Whether the client holds nothing.
    pub fn is_idle(&self, client: ClientSlot) -> bool {
        self.shares.is_idle(client.0)
    }

    /// What is free on an agent.
    pub fn available(&self, agent: AgentSlot) -> Option<&Resources> {
        self.agents.get(agent.0).map(|row| &row.available)
    }

    /// What is offered or in use on an agent, by this ledger.
    pub fn used(&self, agent: AgentSlot) -> Option<&Resources> {
        self.agents.get(agent.0).map(|row| &row.used)
    }

    fn consider_all(&mut self) {
        self.all_are_candidates = true;
    }

    fn refresh_available(&mut self, agent: AgentSlot) {
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        row.overdrawn = !row.total.contains(&row.used);
        row.available = row.total.saturating_sub(&row.used);
        self.available_changed(agent);
    }

    fn available_changed(&mut self, agent: AgentSlot) {
        let Some(row) = self.agents.get_mut(agent.0) else { return };
        row.available_amounts = self.names.amounts(&row.available);
        row.plain = row.available.iter().all(|r| r.reservations.is_empty() && !r.revocable && !r.shared);
        self.version += 1;
        row.version = self.version;
        self.candidates.insert(agent.0);
    }
}
