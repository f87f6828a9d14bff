//! Refusals, and which clients are known to refuse all that is free on which agents. Most agents become free whole again and again, and most
//! clients have refused them whole: a round passes over such a pair with one look into a table, and compares no resources.
//!
//! This is only a cache of what [`Filters`](super::filters::Filters) say; what it does not know is compared.

use std::time::Duration;

use kernel_model::{resources::Resources, time::Time};

use super::{AgentRow, AgentSlot, Allocator, ClientSlot, filters, slot_of};

/// Numbers what is free on an agent, so that clients that refuse it can be noted by number.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By agent: the number of what is free on it now; [`NONE`] if nobody is known to refuse it.
    free: Vec<u32>,
    /// By client, then by agent: the number of what it refuses there.
    refused: Vec<Vec<u32>>,
}

/// What nobody is known to refuse.
const NONE: u32 = 0;

impl Refusals {
    /// Whether the client is known to refuse all that is free on the agent.
    pub(super) fn refuses_all(&self, client: u32, agent: u32) -> bool {
        let refused = self.refused.get(client as usize).and_then(|refused| refused.get(agent as usize));
        refused.is_some_and(|number| *number != NONE && self.free.get(agent as usize) == Some(number))
    }

    /// The client refuses all that is free on the agent.
    pub(super) fn add(&mut self, client: u32, agent: u32, free: u32) {
        set(&mut self.free, agent, free);
        let client = client as usize;
        if self.refused.len() <= client {
            self.refused.resize_with(client + 1, Vec::new);
        }
        set(&mut self.refused[client], agent, free);
    }

    /// Something else is free on the agent: what has this number, or what nobody is known to refuse.
    pub(super) fn free_changed(&mut self, agent: u32, free: Option<u32>) {
        set(&mut self.free, agent, free.unwrap_or(NONE));
    }

    /// The client may have fewer filters on the agent.
    pub(super) fn filter_gone(&mut self, client: u32, agent: u32) {
        if let Some(refused) = self.refused.get_mut(client as usize) {
            set(refused, agent, NONE);
        }
    }

    /// The client has no filters.
    pub(super) fn forget_client(&mut self, client: u32) {
        if let Some(refused) = self.refused.get_mut(client as usize) {
            *refused = Vec::new();
        }
    }

    /// The agent is gone, or its numbers begin anew.
    pub(super) fn forget_agent(&mut self, agent: u32) {
        self.free_changed(agent, None);
        (0..self.refused.len()).for_each(|client| self.filter_gone(slot_of(client), agent));
    }
}

/// Sets an element of a list that ends with its last element other than [`NONE`], at the earliest.
fn set(list: &mut Vec<u32>, at: u32, number: u32) {
    let at = at as usize;
    match list.get_mut(at) {
        Some(element) => *element = number,
        None if number == NONE => {}
        None => {
            list.resize(at + 1, NONE);
            list[at] = number;
        }
    }
}

impl Allocator {
    /// Filters these resources, or any part of them, for the client. `progress` is whether the client launched
    /// something on the offer: then a filter of zero seconds is none.
    pub fn refuse(
        &mut self,
        now: Time,
        agent: AgentSlot,
        client: ClientSlot,
        resources: &Resources,
        refuse: Duration,
        progress: bool,
    ) {
        if !progress {
            self.shares.declined(client.0);
        }
        let floor = self.policy.shortest_refusal;
        let length = match (refuse.is_zero(), progress) {
            (true, true) => return,
            _ => refuse.max(floor),
        };
        let Some(generation) = self.shares.generation(client.0) else { return };
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        let until = filters::round_up(now + length, length);
        let resources = resources.unallocated();
        let refuses_all = !row.available.is_empty() && resources.contains(&row.available);
        for owner in row.filters.add(client.0, generation, until, resources) {
            self.shares.filter_gone(owner);
            self.refusals.filter_gone(owner.client, agent.0);
        }
        self.shares.filter_added(client.0);
        if refuses_all {
            self.note_refusal(agent, client.0);
        }
        self.expiries.entry(until).or_default().insert(agent.0);
    }

    /// Removes all filters of the client (REVIVE).
    pub fn clear_filters(&mut self, client: ClientSlot) {
        self.refusals.forget_client(client.0);
        if self.shares.clear_filters(client.0) {
            self.offer_everything_to(client);
        }
    }

    /// A filter of the client covers all that is free on the agent.
    pub(super) fn note_refusal(&mut self, agent: AgentSlot, client: u32) {
        let Some(row) = self.agents.get_mut(agent.0 as usize) else { return };
        let number = row.refused_number().unwrap_or_else(|| {
            let next = row.refused_whole.1.checked_add(1).unwrap_or_else(|| {
                self.refusals.forget_agent(agent.0);
                1
            });
            row.refused_whole = (row.available.clone(), next);
            next
        });
        self.refusals.add(client, agent.0, number);
    }
}

impl AgentRow {
    /// The number of what is free, if a client was found to refuse all of it.
    pub(super) fn refused_number(&self) -> Option<u32> {
        let (refused, number) = &self.refused_whole;
        (*number > 0 && *refused == self.available).then_some(*number)
    }
}
