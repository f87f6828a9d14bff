//! Revocable resources: what agents offer beyond what their machines have. They are no part of an agent's description, and the registry
//! does not have them; an agent repeats them when it registers again.

use kernel_model::{ids::AgentId, resources::Resources};

use super::{Master, state::Agent};

impl Agent {
    /// All that may be allocated: what the machine has, and what is oversubscribed.
    pub fn total(&self) -> Resources {
        let mut total = self.info.resources.clone();
        if !self.revocable.is_empty() {
            total += &self.revocable;
        }
        total
    }

    fn allocated_revocable(&self) -> Resources {
        let mut held = Resources::new();
        self.allocated.values().for_each(|resources| held += &resources.revocable().unallocated());
        held
    }
}

impl Master {
    /// An agent's estimate has changed: these are all of its revocable resources, allocated or not. The offers of revocable resources
    /// are rescinded if they exceed it. What is allocated stays, even if the agent did not know of it yet.
    pub(super) fn oversubscribed(&mut self, id: &AgentId, resources: &Resources) {
        let Some(agent) = self.agents.get(id) else { return };
        let reported = resources.revocable().unallocated();
        let allocated = agent.allocated_revocable();
        let mut held = allocated.clone();
        held += &agent.offered.revocable().unallocated();
        if !reported.contains(&held) {
            let offers: Vec<u64> = agent.offers.iter().copied().collect();
            let has_revocable = |number: &u64| {
                self.offers.get(number).is_some_and(|of| of.offer.resources.iter().any(|r| r.revocable))
            };
            for number in offers.into_iter().filter(has_revocable).collect::<Vec<_>>() {
                self.withdraw_offer(number, true);
            }
        }
        let mut revocable = allocated.saturating_sub(&reported);
        revocable += &reported;
        let Some(agent) = self.agents.get_mut(id).filter(|agent| agent.revocable != revocable) else {
            return;
        };
        agent.revocable = revocable;
        let (slot, total) = (agent.slot, agent.total());
        self.allocator.set_total(slot, &total);
        self.changed_agents.insert(id.clone());
    }
}
