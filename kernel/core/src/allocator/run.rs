//! An allocation round, in two parts. Each agent whose free resources changed is allocated to the clients in order of their
//! shares. Then each client whose situation changed (it answered, revived, joined) is offered what was free before, the client
//! with the lowest share first. So a round costs what has changed, and not agents times clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel_model::{ids::FrameworkId, resources::Resources, roles::Role, time::Time};

use super::{AgentRow, AgentSlot, Allocator, ClientSlot};

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
    /// The same resources without it, as [`Allocator::recover`] wants them.
    pub free: Resources,
}

/// The stages of an agent. First the guarantees of roles are filled. Then no client gets more than its fair share while others
/// may want the rest. Then the remainder goes to any client, so that nothing stays idle for fairness' sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllocationStage {
    Guarantee,
    FairShare,
    Remainder,
}

const STAGES: [AllocationStage; 3] =
    [AllocationStage::Guarantee, AllocationStage::FairShare, AllocationStage::Remainder];

/// Which agents a client is to be offered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Those of which something was kept from somebody.
    Leftovers,
    /// All with enough free resources.
    Free,
    /// All with anything free, for a client with its own minimum size of offers.
    All,
}

/// What a client's turn led to.
enum Turn {
    /// It got nothing, and has no turn left.
    Nothing,
    /// It got something, and goes on at this agent.
    Again(u32),
    /// It got something, and has no turn left.
    Last,
    /// There is nothing left for anybody.
    Stop,
}

impl Allocator {
    /// Allocates the free resources of the agents, and to the clients, whose situation changed.
    pub fn run(&mut self, now: Time) -> Vec<Allocation> {
        self.expire_filters(now);
        self.shares.notice_lag(now);
        let mut allocations = Vec::new();
        if !self.has_candidates() {
            return allocations;
        }
        self.runs += 1;
        self.shares.begin_round();
        let mut from = 0;
        while let Some(agent) = self.candidates.first_from(from) {
            self.candidates.remove(agent);
            self.allocate_agent(now, AgentSlot(agent), &mut allocations);
            from = agent + 1;
        }
        self.serve_waiting_clients(now, &mut allocations);
        allocations
    }

    fn expire_filters(&mut self, now: Time) {
        while let Some(entry) = self.expiries.first_entry() {
            if *entry.key() > now {
                break;
            }
            for slot in entry.remove() {
                if self.expire_holds(AgentSlot(slot), now) {
                    self.candidates.insert(slot);
                }
                if let Some(row) = self.agents.get_mut(slot as usize) {
                    let waited = row.leftover_until.is_some_and(|until| until <= now);
                    let expired = row.filters.expire(now);
                    let any = !expired.is_empty();
                    for owner in expired {
                        self.shares.filter_gone(owner);
                        self.refusals.filter_gone(owner.client, slot);
                    }
                    if any || waited || self.leftovers.contains(slot) {
                        self.candidates.insert(slot);
                    }
                }
            }
        }
    }

    fn allocate_agent(&mut self, now: Time, agent: AgentSlot, allocations: &mut Vec<Allocation>) {
        let first = allocations.len();
        self.leftovers.remove(agent.0);
        let mut held_back = false;
        let mut cursor = std::mem::take(&mut self.cursor);
        let mut served: Vec<u32> = Vec::new();
        for stage in STAGES {
            match stage {
                _ if !self.is_offerable(agent) => break,
                AllocationStage::Guarantee if !self.shares.is_anything_required() => continue,
                AllocationStage::Remainder if !held_back => break,
                // Whoever is asked, another one is awaited.
                AllocationStage::Remainder
                    if self.shares.awaited_clients().0 > 1 && self.waits_for_answers(now, agent) =>
                {
                    break;
                }
                _ => {}
            }
            // Those that are looking get nothing in this stage.
            let skips_looking = stage == AllocationStage::FairShare && self.shares.active_clients() > 1;
            held_back |= skips_looking && self.shares.looking_clients() > 0;
            served.clear();
            self.shares.rewind(&mut cursor);
            while let Some(client) = self.shares.next_in_order(&mut cursor, skips_looking) {
                if self.refusals.refuses_all(client, agent.0)
                    || served.contains(&client)
                    || !self.offer_to(now, agent, client, stage, &mut held_back, (first, allocations))
                {
                    continue;
                }
                if !self.is_offerable(agent) {
                    break;
                }
                // The order has changed.
                served.push(client);
                self.shares.rewind(&mut cursor);
            }
        }
        self.cursor = cursor;
        if held_back && self.is_offerable(agent) {
            self.leftovers.insert(agent.0);
        }
    }

    /// Offers the clients whose situation changed what was free before, the one with the lowest share first.
    fn serve_waiting_clients(&mut self, now: Time, allocations: &mut Vec<Allocation>) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut held_back = BTreeSet::new();
        let first = allocations.len();
        // Where each client goes on.
        let left: BTreeMap<u32, u32> = waiting.keys().map(|client| (*client, 0)).collect();
        self.in_order_of_shares(left.clone(), |this, client, from| {
            let reach = (waiting[&client], from);
            match this.serve(now, client, reach, &mut held_back, (first, allocations)) {
                Some(next) => Turn::Again(next),
                None => Turn::Nothing,
            }
        });
        for slot in held_back {
            let agent = AgentSlot(slot);
            if self.shares.awaited_clients().0 > 1 && self.waits_for_answers(now, agent) {
                // As above: whoever is asked, another one is awaited.
                if self.is_offerable(agent) {
                    self.leftovers.insert(slot);
                }
                continue;
            }
            self.in_order_of_shares(left.clone(), |this, client, _| {
                if !this.is_offerable(agent) {
                    return Turn::Stop;
                }
                let stage = AllocationStage::Remainder;
                match this.offer_to(now, agent, client, stage, &mut true, (first, allocations)) {
                    true => Turn::Last,
                    false => Turn::Nothing,
                }
            });
            if self.is_offerable(agent) {
                self.leftovers.insert(slot);
            }
        }
    }

    /// Gives each of these clients its turns, always to the one with the lowest share that has one left. Those that are not
    /// active have none. The order is walked again only after a turn that changed it.
    fn in_order_of_shares(
        &mut self,
        mut left: BTreeMap<u32, u32>,
        mut turn: impl FnMut(&mut Self, u32, u32) -> Turn,
    ) {
        let mut cursor = std::mem::take(&mut self.cursor);
        self.shares.rewind(&mut cursor);
        while !left.is_empty() {
            let next = match left.first_key_value() {
                Some((client, _)) if left.len() == 1 => {
                    self.shares.client(*client).filter(|who| who.active).map(|_| *client)
                }
                _ => self.shares.next_in_order(&mut cursor, false),
            };
            let Some(client) = next else { break };
            let Some(from) = left.get(&client).copied() else { continue };
            match turn(self, client, from) {
                Turn::Nothing => drop(left.remove(&client)),
                Turn::Again(from) => {
                    left.insert(client, from);
                    self.shares.rewind(&mut cursor);
                }
                Turn::Last => {
                    left.remove(&client);
                    self.shares.rewind(&mut cursor);
                }
                Turn::Stop => break,
            }
        }
        self.cursor = cursor;
    }

    /// Offers the client the next agent that it can get something of, within its fair share. Returns where to go on, `None` at
    /// the end. `held_back` collects the agents that it could have had more of.
    fn serve(
        &mut self,
        now: Time,
        client: u32,
        (reach, mut from): (Reach, u32),
        held_back: &mut BTreeSet<u32>,
        (first, allocations): (usize, &mut Vec<Allocation>),
    ) -> Option<u32> {
        while let Some(slot) = self.next_agent(client, reach, from) {
            from = slot + 1;
            let agent = AgentSlot(slot);
            if !self.is_offerable(agent) {
                continue;
            }
            let (mut more, mut got) = (false, false);
            for stage in [AllocationStage::Guarantee, AllocationStage::FairShare] {
                if self.is_offerable(agent)
                    && (stage == AllocationStage::FairShare || self.shares.is_anything_required())
                {
                    got |= self.offer_to(now, agent, client, stage, &mut more, (first, allocations));
                }
            }
            if more && self.is_offerable(agent) {
                held_back.insert(slot);
            }
            if got {
                return Some(from);
            }
        }
        None
    }

    /// The next agent within reach, from this one on, that the client is not known to refuse.
    fn next_agent(&self, client: u32, reach: Reach, from: u32) -> Option<u32> {
        let refused = |slot: &u32| self.refusals.refuses_all(client, *slot);
        match reach {
            Reach::Leftovers => self.leftovers.range_from(from).find(|slot| !refused(slot)),
            Reach::Free => self.free.range_from(from).find(|slot| !refused(slot)),
            Reach::All => (from..u32::try_from(self.agents.capacity()).unwrap_or(u32::MAX))
                .find(|slot| self.agents.contains(*slot as usize) && !refused(slot)),
        }
    }

    /// Allocates to the client what it gets of the agent in this stage. `made` are the allocations of the round, and the first
    /// that can be of this agent. Returns whether it got something.
    fn offer_to(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: u32,
        stage: AllocationStage,
        held_back: &mut bool,
        made: (usize, &mut Vec<Allocation>),
    ) -> bool {
        if stage == AllocationStage::Remainder && self.must_wait_for_answers(now, agent, client) {
            return false;
        }
        let Some((taken, amounts)) = self.take(now, agent, client, stage, held_back) else { return false };
        let counted = self.names.counted(&taken);
        self.shares.charge(client, amounts, &counted);
        self.refresh_open(agent);
        let resources = self.shares.allocated_to(client, &taken);
        let Some(who) = self.shares.client(client) else { return false };
        let (first, allocations) = made;
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return false };
        // It has got a part in this round.
        if stage != AllocationStage::Guarantee
            && row.pending.contains(&client)
            && let Some(part) = (allocations[first..].iter_mut().rev())
                .find(|made| made.agent == agent && made.client.0 == client)
        {
            part.resources += &resources;
            part.free += &taken;
            return true;
        }
        row.pending.push(client);
        let (framework, role) = (who.framework.clone(), who.role.clone());
        let client = ClientSlot(client);
        allocations.push(Allocation { agent, client, framework, role, resources, free: taken });
        self.shares.offered(client.0, now);
        true
    }

    /// Whether the remainder must be left for other clients with pending offers, because they may be below their fair
    /// share afterwards. It is left for at most [`LEFTOVER_WAIT_MAX`], because some clients never answer.
    fn must_wait_for_answers(&mut self, now: Time, agent: AgentSlot, client: u32) -> bool {
        if self.shares.others_awaited(client) == 0 && !self.shares.is_looking(client) {
            return false;
        }
        self.waits_for_answers(now, agent)
    }

    /// Whether the remainder is left to clients with pending offers, for not too long.
    fn waits_for_answers(&mut self, now: Time, agent: AgentSlot) -> bool {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return false };
        let until = *row.leftover_until.get_or_insert_with(|| {
            let until = now + LEFTOVER_WAIT_MAX;
            self.expiries.entry(until).or_default().insert(agent.0);
            until
        });
        now < until
    }

    pub(super) fn is_offerable(&self, agent: AgentSlot) -> bool {
        let small = self.shares.accepts_small_offers();
        let enough =
            |row: &AgentRow| row.available_amounts.allocatable() || (small && !row.available.is_empty());
        self.agents.get(agent.0 as usize).is_some_and(|row| row.active && enough(row))
    }
}
