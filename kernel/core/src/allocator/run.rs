//! An allocation round: each candidate agent is allocated to the clients in order of their share.

use std::time::Duration;

use kernel_model::{
    ids::FrameworkId,
    resources::{Resource, Resources, Scalar, Value},
    roles::Role,
    time::Time,
};

use super::{
    AgentRow, AgentSlot, Allocator, Capabilities, ClientSlot, Policy,
    amounts::{Amounts, ResourceNames},
    filters,
    shares::Attention,
    slot_of,
};

/// How long a remainder is left for clients with pending offers: as long as the default minimum filter, after which
/// declined offers return.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(1);

/// An allocation to a client on an agent. It is charged already.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Allocation {
    pub agent: AgentSlot,
    pub client: ClientSlot,
    pub framework: FrameworkId,
    pub role: Role,
    /// The resources, with their allocation role.
    pub resources: Resources,
}

impl Allocator {
    /// Allocates the free resources of the candidate agents.
    pub fn run(&mut self, now: Time) -> Vec<Allocation> {
        self.expire_filters(now);
        self.shares.notice_lag(now);
        let mut allocations = Vec::new();
        if !self.has_candidates() {
            return allocations;
        }
        self.runs += 1;
        // Quota guarantees belong here: a round over the same agents for roles below their guarantee, before the fair
        // sharing.
        let some = std::mem::take(&mut self.candidates);
        if std::mem::take(&mut self.all_are_candidates) {
            let all: Vec<AgentSlot> = self.agents.iter().map(|(slot, _)| AgentSlot(slot_of(slot))).collect();
            for agent in all {
                self.allocate_agent(now, agent, &mut allocations);
            }
        } else {
            for agent in some {
                self.allocate_agent(now, AgentSlot(agent), &mut allocations);
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
                if let Some(row) = self.agents.get_mut(slot as usize) {
                    let waited = row.leftover_until.is_some_and(|until| until <= now);
                    let expired = row.filters.expire(now);
                    let any = !expired.is_empty();
                    expired.into_iter().for_each(|owner| self.shares.filter_gone(owner));
                    if any || waited || self.passed_over.remove(&slot) {
                        self.candidates.insert(slot);
                    }
                }
            }
        }
    }

    fn allocate_agent(&mut self, now: Time, agent: AgentSlot, allocations: &mut Vec<Allocation>) {
        if !self.is_offerable(agent) {
            return;
        }
        // The order is fixed at the beginning of each agent, as in Mesos: fairness is per agent.
        let order = self.shares.take_order();
        let first = allocations.len();
        let mut held_back = false;
        for stage in [AllocationStage::FairShare, AllocationStage::Remainder] {
            if stage == AllocationStage::Remainder && !held_back {
                break;
            }
            for &client in &order {
                if stage == AllocationStage::Remainder && self.must_wait_for_answers(now, agent, client) {
                    continue;
                }
                let Some((taken, amounts)) = self.take(now, agent, client, stage, &mut held_back) else {
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
                        self.shares.offered(client, now);
                        if let Some(row) = self.agents.get_mut(agent.0 as usize) {
                            row.pending.push(client);
                        }
                    }
                }
                if !self.is_offerable(agent) {
                    return;
                }
            }
        }
        if allocations.len() == first {
            self.shares.return_order(order);
        }
    }

    /// Whether the remainder must be left for other clients with pending offers, because they may be below their fair
    /// share afterwards. It is left for at most [`LEFTOVER_WAIT_MAX`], because some clients never answer.
    fn must_wait_for_answers(&mut self, now: Time, agent: AgentSlot, client: u32) -> bool {
        if self.shares.others_awaited(client) == 0 {
            return false;
        }
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return false };
        let until = *row.leftover_until.get_or_insert_with(|| {
            let until = now + LEFTOVER_WAIT_MAX;
            self.expiries.entry(until).or_default().insert(agent.0);
            until
        });
        if now >= until {
            return false;
        }
        self.leftovers.insert(agent.0);
        true
    }

    fn is_offerable(&self, agent: AgentSlot) -> bool {
        let small = self.shares.accepts_small_offers();
        let enough =
            |row: &AgentRow| row.available_amounts.allocatable() || (small && !row.available.is_empty());
        self.agents.get(agent.0 as usize).is_some_and(|row| row.active && enough(row))
    }

    /// Allocates to a client what it gets in this stage. Sets `held_back` if the client could have had more.
    fn take(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        stage: AllocationStage,
        held_back: &mut bool,
    ) -> Option<(Resources, Amounts)> {
        let attention = self.attention(now, agent, client, stage)?;
        let row = self.agents.get_mut(agent.0 as usize)?;
        let who = self.shares.client(client)?;
        if !admits(&self.policy, row, who.capabilities) || !who.preferences.admit(&row.properties) {
            return None;
        }
        let (mut offer, mut amounts) = match offerable_resources(row, &who.role, who.capabilities) {
            Offerable::All => (None, row.available_amounts),
            Offerable::Part(part) => {
                let amounts = self.names.amounts(&part);
                (Some(part), amounts)
            }
        };
        if !who.preferences.meets_minimum(offer.as_ref().unwrap_or(&row.available), amounts.allocatable()) {
            return None;
        }
        let (version, generation) = (offer.is_none().then_some(row.version), who.generation);
        let whole = offer.as_ref().unwrap_or(&row.available);
        if row.filters.covers(now, &filters::CandidateOffer { client, generation, offer: whole, version }) {
            return None;
        }
        if stage == AllocationStage::FairShare && self.shares.active_clients() > 1 {
            let headroom = self.shares.headroom(client);
            if !amounts.fit(&headroom.amounts) {
                if attention == Attention::Whole {
                    return self.pass_over(agent, client);
                }
                *held_back = true;
                let part = fair_share_part(&headroom.amounts, &self.names, whole);
                let part_amounts = self.names.amounts(&part);
                let refused = filters::CandidateOffer { client, generation, offer: &part, version: None };
                if !part_amounts.is_useful_part_of(&amounts) || !who.preferences.meets_minimum(&part, true) {
                    return None;
                }
                match row.filters.covers(now, &refused) {
                    false => (offer, amounts) = (Some(part), part_amounts),
                    // The client filtered its fair share: it needs a larger offer. A client far below its share is
                    // offered the whole.
                    true if headroom.below_fair_share => {}
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
        if stage == AllocationStage::Remainder || !row.available_amounts.allocatable() {
            row.leftover_until = None;
        }
        self.version += 1;
        row.version = self.version;
        Some((taken, amounts))
    }
}

impl Allocator {
    /// What the client may be offered of the agent in this stage; `None` if nothing. A client that does not answer gets
    /// nothing more of an agent that it has offers of, and no remainders.
    fn attention(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        stage: AllocationStage,
    ) -> Option<Attention> {
        let attention = self.shares.attention(client, now);
        let row = self.agents.get(agent.0 as usize)?;
        match attention {
            Attention::Full => Some(attention),
            Attention::Whole if stage == AllocationStage::FairShare && !row.pending.contains(&client) => {
                Some(attention)
            }
            Attention::Whole | Attention::None => self.pass_over(agent, client),
        }
    }

    fn pass_over<T>(&mut self, agent: AgentSlot, client: u32) -> Option<T> {
        self.shares.passed_over(client);
        self.passed_over.insert(agent.0);
        None
    }
}

/// An agent is allocated in two stages. First no client gets more than its fair share while others may want the rest.
/// Then the remainder goes to any client, so that nothing stays idle for fairness' sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AllocationStage {
    FairShare,
    Remainder,
}

/// The part of an offer that fits the headroom of a client. Reserved resources are included whole, because no other
/// role may use them. Resources that do not count for fairness are included in proportion.
fn fair_share_part(headroom: &Amounts, names: &ResourceNames, offer: &Resources) -> Resources {
    let fraction = offer
        .scalars()
        .filter_map(|(name, amount)| Some(headroom.of(names, name)?.min(amount.0) as f64 / amount.0 as f64))
        .fold(0.0, f64::max);
    let mut part = Resources::new();
    for resource in offer.iter().filter(|r| !r.is_indivisible() && !r.shared) {
        let value = match &resource.value {
            _ if !resource.reservations.is_empty() => resource.value.clone(),
            Value::Scalar(amount) => match headroom.of(names, &resource.name) {
                Some(headroom) => Value::Scalar(Scalar(amount.0.min(headroom))),
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

enum Offerable {
    All,
    Part(Resources),
}

/// Whether a framework with these capabilities may be offered the agent.
pub(super) fn admits(policy: &Policy, row: &AgentRow, capabilities: Capabilities) -> bool {
    !policy.filter_gpu_agents || !row.has_gpus || capabilities.gpus
}

/// The free resources of the agent that the client may be offered.
fn offerable_resources(row: &AgentRow, role: &Role, capabilities: Capabilities) -> Offerable {
    if row.plain {
        return Offerable::All;
    }
    Offerable::Part(row.available.filter(|r| {
        r.is_allocatable_to(role)
            && (capabilities.revocable || !r.revocable)
            && (capabilities.shared || !r.shared)
            && (capabilities.refined || r.reservations.len() <= 1)
    }))
}
