//! Why a client has no offer: typed reasons, agent by agent, summed up.

use kernel_model::time::Time;

use super::{Allocator, ClientSlot, run::admits};

/// One reason why a framework gets nothing in a role. Agents are counted under the first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// It is disconnected, or it suppressed the role.
    NotAsking,
    /// There is no agent.
    NoAgents,
    /// Agents that are disconnected or deactivated.
    AgentsInactive(u32),
    /// Agents with GPUs, which the framework does not handle.
    AgentsHaveGpus(u32),
    /// Agents that the framework's own constraints exclude.
    AgentsExcluded(u32),
    /// Agents with next to nothing left for this role.
    AgentsUsedUp(u32),
    /// Agents whose free resources the framework refused a short while ago.
    AgentsRefused(u32),
}

impl Allocator {
    /// Why the client has no offer now. Empty if it may have one at the next round.
    pub fn explain(&self, now: Time, client: ClientSlot) -> Vec<WaitReason> {
        let Some(who) = self.shares.client(client.0) else { return vec![WaitReason::NotAsking] };
        if !who.active {
            return vec![WaitReason::NotAsking];
        }
        let (mut inactive, mut gpus, mut excluded, mut used_up, mut refused, mut all) = (0, 0, 0, 0, 0, 0);
        for (_, row) in self.agents.iter() {
            all += 1;
            if !row.active {
                inactive += 1;
            } else if !admits(&self.policy, row, who.handles) {
                gpus += 1;
            } else if !who.wishes.admit(&row.place) {
                excluded += 1;
            } else if row.available.allocatable_to(&who.role).is_empty()
                || !row.available_amounts.allocatable()
            {
                used_up += 1;
            } else if row.filters.any_of(now, client.0, who.generation) {
                refused += 1;
            }
        }
        if all == 0 {
            return vec![WaitReason::NoAgents];
        }
        [
            (inactive, WaitReason::AgentsInactive as fn(u32) -> WaitReason),
            (gpus, WaitReason::AgentsHaveGpus),
            (excluded, WaitReason::AgentsExcluded),
            (used_up, WaitReason::AgentsUsedUp),
            (refused, WaitReason::AgentsRefused),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, reason)| reason(count))
        .collect()
    }
}
