//! The allocator: hierarchical dominant resource fairness (DRF) over the role tree and, in each role, its frameworks.
//!
//! The allocator keeps its own dense ledger (slots instead of ids, fixed arrays instead of maps) of what each client,
//! that is a framework in a role, holds in offers and in use. It is event-driven: freed resources and added demand make
//! agents candidates, and [`Allocator::run`] allocates those agents at once (docs/decisions/0003). Allocation is
//! coarse, as in Mesos: everything free on an agent goes to the client furthest below its share. If that would lift the
//! client above its fair share while other clients want resources too, it gets only the fair share, and the next client
//! the remainder.

mod amounts;
mod explain;
mod filters;
mod holds;
mod preferences;
mod problem;
mod quota;
mod refusals;
mod run;
mod shares;
mod slot_set;
mod take;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kernel_model::{
    agent::AgentInfo, ids::FrameworkId, offer, resources::Resources, roles::Role, time::Time,
};
use slab::Slab;

pub use explain::WaitReason;
pub use holds::Hold;
pub use preferences::{ClientPreferences, CompiledPreferences};
pub use problem::{Problem, allocate};
pub use run::Allocation;

use amounts::{Amounts, Counts, ResourceNames};
use filters::Filters;
use preferences::AgentProperties;
use refusals::Refusals;
use run::Reach;
use shares::{OrderCursor, Shares};
use slot_set::SlotSet;

/// How many sizes of agents are compared with a new one: clusters are of a few kinds of machines.
const SIZES_MAX: usize = 16;

/// The index of an agent in the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentSlot(pub(crate) u32);

/// The index of a client, that is a framework in one of its roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientSlot(pub(crate) u32);

/// The resources that a framework can be offered, from its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// GPU_RESOURCES: agents with GPUs.
    pub gpus: bool,
    /// REVOCABLE_RESOURCES.
    pub revocable: bool,
    /// SHARED_RESOURCES.
    pub shared: bool,
    /// RESERVATION_REFINEMENT: resources with more than one reservation.
    pub refined: bool,
}

/// The allocator's configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Whether agents with GPUs are offered only to frameworks with GPU_RESOURCES.
    pub filter_gpu_agents: bool,
    /// See `MasterConfig::shortest_refusal`.
    pub shortest_refusal: Duration,
}

#[derive(Debug, Clone)]
struct AgentRow {
    total: Resources,
    total_amounts: Amounts,
    /// Offered or in use, without allocation roles.
    used: Resources,
    /// `total` minus `used`.
    available: Resources,
    /// `used` exceeds `total`, because `total` shrank: recovered resources may not become available.
    overdrawn: bool,
    available_amounts: Amounts,
    /// What is available and counts for quota, while there are guarantees and the agent is active.
    open: Vec<(usize, i64)>,
    /// What is reserved, by role.
    reserved: Vec<(Role, Vec<(usize, i64)>)>,
    /// Whether any client may be offered everything available: nothing is reserved, revocable or shared.
    plain: bool,
    has_gpus: bool,
    /// The properties that offer constraints select.
    properties: AgentProperties,
    active: bool,
    /// Incremented when `available` changes: the key of cached filter results.
    version: u64,
    filters: Filters,
    /// What is kept for one role each.
    holds: Vec<Hold>,
    /// The clients with unanswered offers, one entry for each.
    pending: Vec<u32>,
    /// What was free when a client was last found to refuse all of it, and its number in [`Refusals`].
    refused_whole: (Resources, u32),
    /// While a remainder is left for clients with pending offers: until when it is left.
    leftover_until: Option<Time>,
}

/// The ledger and the order of clients.
#[derive(Debug)]
pub struct Allocator {
    policy: Policy,
    names: ResourceNames,
    agents: Slab<AgentRow>,
    shares: Shares,
    /// The agents to allocate in the next round.
    candidates: SlotSet,
    /// The clients to offer free agents to in the next round.
    waiting: BTreeMap<u32, Reach>,
    /// The active agents with enough free resources for an offer.
    free: SlotSet,
    /// Those of them of which something was kept from a client: it is left for others that may be below their share, or the
    /// client has not answered its offers.
    leftovers: SlotSet,
    /// The sum of all agents' `open`.
    open: Counts,
    /// Reused across agents to avoid reallocating.
    cursor: OrderCursor,
    refusals: Refusals,
    /// The last distinct sizes of agents: agents of one size share one list of resources, which is compared by address.
    sizes: VecDeque<Resources>,
    /// The agents whose filters expire at these times.
    expiries: BTreeMap<Time, BTreeSet<u32>>,
    version: u64,
    /// Rounds that had agents to allocate.
    runs: u64,
    /// Pairs of agent and client that were looked at.
    considered: u64,
}

impl Allocator {
    /// An allocator without agents and clients.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            names: ResourceNames::default(),
            agents: Slab::new(),
            shares: Shares::default(),
            candidates: SlotSet::default(),
            waiting: BTreeMap::new(),
            free: SlotSet::default(),
            leftovers: SlotSet::default(),
            open: Counts::default(),
            cursor: OrderCursor::default(),
            refusals: Refusals::default(),
            sizes: VecDeque::new(),
            expiries: BTreeMap::new(),
            version: 0,
            runs: 0,
            considered: 0,
        }
    }

    /// Adds an agent with nothing in use; see [`Allocator::charge`].
    pub fn add_agent(&mut self, total: &Resources, active: bool) -> AgentSlot {
        let row = AgentRow {
            total: Resources::new(),
            total_amounts: Amounts::default(),
            used: Resources::new(),
            available: Resources::new(),
            overdrawn: false,
            available_amounts: Amounts::default(),
            open: Vec::new(),
            reserved: Vec::new(),
            plain: true,
            has_gpus: false,
            properties: AgentProperties::default(),
            active,
            version: 0,
            filters: Filters::default(),
            holds: Vec::new(),
            pending: Vec::new(),
            refused_whole: Default::default(),
            leftover_until: None,
        };
        let slot = AgentSlot(slot_of(self.agents.insert(row)));
        self.set_total(slot, total);
        slot
    }

    /// Removes an agent. Everything charged on it must have been recovered.
    pub fn remove_agent(&mut self, agent: AgentSlot) {
        if let Some(row) = self.agents.try_remove(agent.0 as usize) {
            let amounts = self.names.amounts(&row.total);
            self.shares.change_pool(Amounts::default(), amounts);
            self.open.add(&row.open, -1);
            row.reserved.iter().for_each(|(role, amounts)| self.shares.change_reserved(role, amounts, -1));
            row.filters.owners().for_each(|owner| self.shares.filter_gone(owner));
            self.refusals.forget_agent(agent.0);
        }
        for set in [&mut self.candidates, &mut self.free, &mut self.leftovers] {
            set.remove(agent.0);
        }
    }

    /// Sets an agent's total resources.
    pub fn set_total(&mut self, agent: AgentSlot, total: &Resources) {
        let shared = self.shared_size(total);
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        let before = self.names.amounts(&row.total);
        let after = self.names.amounts(total);
        (row.total, row.total_amounts) = (shared, after);
        row.has_gpus = total.iter().any(|r| &*r.name == "gpus");
        self.shares.change_pool(after, before);
        self.refresh_reserved(agent, total);
        self.refresh_available(agent);
    }

    /// The same resources, in one list with other agents of this size.
    fn shared_size(&mut self, total: &Resources) -> Resources {
        if let Some(known) = self.sizes.iter().find(|known| *known == total) {
            return known.clone();
        }
        if self.sizes.len() == SIZES_MAX {
            self.sizes.pop_front();
        }
        self.sizes.push_back(total.clone());
        total.clone()
    }

    /// Sets the properties of an agent that offer constraints select.
    pub fn set_agent_properties(&mut self, agent: AgentSlot, info: &AgentInfo) {
        let properties =
            AgentProperties { hostname: info.hostname.clone(), attributes: info.attributes.clone() };
        if let Some(row) = self.agents.get_mut(agent.0 as usize)
            && row.properties != properties
        {
            row.properties = properties;
            self.candidates.insert(agent.0);
        }
    }

    /// Sets whether an agent may be offered.
    pub fn set_agent_active(&mut self, agent: AgentSlot, active: bool) {
        if let Some(row) = self.agents.get_mut(agent.0 as usize)
            && row.active != active
        {
            row.active = active;
            if active {
                self.candidates.insert(agent.0);
            }
            self.note_free(agent);
        }
    }

    /// Adds a framework in a role, without offers until [`Allocator::set_client_active`].
    pub fn add_client(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        capabilities: Capabilities,
    ) -> ClientSlot {
        ClientSlot(self.shares.add_client(framework, role, capabilities))
    }

    /// Removes a client. Everything charged to it must have been recovered.
    pub fn remove_client(&mut self, client: ClientSlot) {
        self.waiting.remove(&client.0);
        self.shares.remove_client(client.0);
        self.refusals.forget_client(client.0);
        self.candidates.append(&mut self.leftovers);
    }

    /// Sets whether the client wants offers. One that begins to want them is offered what is free.
    pub fn set_client_active(&mut self, client: ClientSlot, active: bool) {
        if self.shares.set_active(client.0, active) {
            match active {
                true => self.offer_everything_to(client),
                // The fair shares of the others have grown.
                false => self.candidates.append(&mut self.leftovers),
            }
        }
    }

    /// Offers the client all that is free in the next round.
    fn offer_everything_to(&mut self, client: ClientSlot) {
        let small = self.shares.client(client.0).is_some_and(|who| who.preferences.has_min_allocatable());
        self.offer_later(client, if small { Reach::All } else { Reach::Free });
    }

    fn offer_later(&mut self, client: ClientSlot, reach: Reach) {
        if reach != Reach::Leftovers || !self.leftovers.is_empty() {
            let known = self.waiting.entry(client.0).or_insert(reach);
            *known = reach.max(*known);
        }
    }

    /// Sets the framework's capabilities.
    pub fn set_client_capabilities(&mut self, client: ClientSlot, capabilities: Capabilities) {
        if self.shares.set_capabilities(client.0, capabilities) {
            self.offer_everything_to(client);
        }
    }

    /// Sets the client's offer preferences.
    pub fn set_client_preferences(&mut self, client: ClientSlot, preferences: ClientPreferences) {
        if self.shares.set_preferences(client.0, preferences) {
            self.offer_everything_to(client);
        }
    }

    /// Sets the weight of a role among its siblings.
    pub fn set_weight(&mut self, role: &Role, weight: f64) {
        self.shares.set_weight(role, weight);
        self.candidates.append(&mut self.leftovers);
    }

    /// Charges resources that the client holds on the agent without an offer, found at re-registration.
    pub fn charge(&mut self, agent: AgentSlot, client: ClientSlot, resources: &Resources) {
        let amounts = self.names.amounts(resources);
        let counted = self.names.counted(resources);
        self.shares.charge(client.0, amounts, &counted);
        if let Some(row) = self.agents.get_mut(agent.0 as usize) {
            row.used += &resources.unallocated();
        }
        self.refresh_available(agent);
    }

    /// Returns resources that the client held on the agent.
    pub fn recover(&mut self, agent: AgentSlot, client: ClientSlot, resources: &Resources) {
        let amounts = self.names.amounts(resources);
        let counted = self.names.counted(resources);
        self.shares.discharge(client.0, amounts, &counted);
        if self.shares.has_quotas() {
            // What was kept because of a quota may be offered now.
            self.candidates.append(&mut self.leftovers);
        }
        self.offer_later(client, Reach::Leftovers);
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        let free = resources.unallocated();
        row.used.remove_all(&free);
        if row.overdrawn {
            return self.refresh_available(agent);
        }
        row.available += &free;
        self.available_changed(agent);
    }

    /// An offer of the client is gone: answered, rescinded or expired.
    pub fn offer_gone(&mut self, agent: AgentSlot, client: ClientSlot) {
        self.shares.offer_gone(client.0);
        if let Some(row) = self.agents.get_mut(agent.0 as usize)
            && let Some(at) = row.pending.iter().position(|of| *of == client.0)
        {
            row.pending.swap_remove(at);
        }
        self.offer_later(client, Reach::Leftovers);
        match self.shares.awaited_clients() {
            (0, _) => self.candidates.append(&mut self.leftovers),
            // Nobody else is waited for.
            (1, Some(last)) => self.offer_later(ClientSlot(last), Reach::Leftovers),
            _ => {}
        }
    }

    /// The client answered an offer, or revived.
    pub fn answered(&mut self, now: Time, client: ClientSlot) {
        if self.shares.answered(client.0, now) {
            self.offer_later(client, Reach::Leftovers);
        }
    }

    /// The client launched something on an offer.
    pub fn launched(&mut self, client: ClientSlot) {
        self.shares.launched(client.0);
    }

    /// An offer of the client expired. It is filtered like a refusal by default, and the client is offered nothing for a while.
    pub fn expired(&mut self, now: Time, agent: AgentSlot, client: ClientSlot, resources: &Resources) {
        let resumes_at = self.shares.expired(client.0, now);
        self.refuse(now, agent, client, resources, offer::Filters::default().refuse, false);
        self.expiries.entry(resumes_at).or_default().insert(agent.0);
    }

    /// When the next filter expires, or a client has answered nothing for too long.
    pub fn next_deadline(&self) -> Option<Time> {
        let expiry = self.expiries.first_key_value().map(|(time, _)| *time);
        [expiry, self.shares.next_lag()].into_iter().flatten().min()
    }

    /// The clients that have answered nothing for a while and hold more than their fair share while others wait: their newest
    /// offers should be rescinded, as long as [`Allocator::is_above_fair_share`].
    pub fn overdue(&mut self, now: Time) -> Vec<ClientSlot> {
        self.shares.notice_lag(now);
        self.shares.overdue().into_iter().map(ClientSlot).collect()
    }

    /// Whether the client holds more than its fair share.
    pub fn is_above_fair_share(&self, client: ClientSlot) -> bool {
        self.shares.headroom(client.0).above_fair_share
    }

    /// The framework of a client.
    pub fn framework_of(&self, client: ClientSlot) -> Option<&FrameworkId> {
        self.shares.client(client.0).map(|client| &client.framework)
    }

    /// Whether [`Allocator::run`] has agents to allocate.
    pub fn has_candidates(&self) -> bool {
        !self.candidates.is_empty() || !self.waiting.is_empty()
    }

    /// The client's dominant share of the pool, not divided by weights.
    pub fn dominant_share(&self, client: ClientSlot) -> f64 {
        self.shares.dominant_share(client.0)
    }

    /// The client's filters on all agents.
    pub fn filter_count(&self, client: ClientSlot) -> u64 {
        self.shares.client(client.0).map_or(0, |client| client.filters)
    }

    /// How many rounds had agents to allocate.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many pairs of agent and client were looked at, in all rounds.
    pub fn considered(&self) -> u64 {
        self.considered
    }

    /// Whether the client holds nothing.
    pub fn is_idle(&self, client: ClientSlot) -> bool {
        self.shares.is_idle(client.0)
    }

    /// The free resources of an agent.
    pub fn available(&self, agent: AgentSlot) -> Option<&Resources> {
        self.agents.get(agent.0 as usize).map(|row| &row.available)
    }

    /// The resources of an agent that are offered or in use.
    pub fn used(&self, agent: AgentSlot) -> Option<&Resources> {
        self.agents.get(agent.0 as usize).map(|row| &row.used)
    }

    fn refresh_available(&mut self, agent: AgentSlot) {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        row.overdrawn = !row.total.contains(&row.used);
        row.available = row.total.saturating_sub(&row.used);
        self.available_changed(agent);
    }

    fn available_changed(&mut self, agent: AgentSlot) {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        row.available_amounts = self.names.amounts(&row.available);
        row.plain = row.available.iter().all(|r| r.reservations.is_empty() && !r.revocable && !r.shared);
        self.version += 1;
        row.version = self.version;
        self.refusals.free_changed(agent.0, row.refused_number());
        self.candidates.insert(agent.0);
        self.note_free(agent);
    }

    /// Whether the agent is among those with enough free resources, and how much of it counts for quota.
    fn note_free(&mut self, agent: AgentSlot) {
        self.refresh_open(agent);
        let Some(row) = self.agents.get(agent.0 as usize) else { return };
        if row.active && row.available_amounts.allocatable() {
            self.free.insert(agent.0);
        } else {
            self.free.remove(agent.0);
            self.leftovers.remove(agent.0);
        }
    }
}

/// A slab's key as a slot: half the size, because slots are stored often.
fn slot_of(key: usize) -> u32 {
    u32::try_from(key).expect("invariant: fewer than 2^32 agents, clients and roles")
}
