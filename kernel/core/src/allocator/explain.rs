//! Why a client has no offer: typed reasons, counted over the agents.

use kernel_model::time::Time;

use super::{Allocator, ClientSlot, take::admits};

/// A reason why a framework gets no offer in a role. An agent is counted under the first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum WaitReason {
    /// The framework is disconnected, or it suppressed the role.
    NotAsking,
    NoAgents,
    /// Agents that are disconnected or deactivated.
    AgentsInactive(u32),
    /// Agents with GPUs, for a framework without GPU_RESOURCES.
    AgentsHaveGpus(u32),
    /// Agents that the framework's offer constraints exclude.
    AgentsExcluded(u32),
    /// Agents with too little left for this role.
    AgentsUsedUp(u32),
    /// Agents whose free resources are filtered.
    AgentsRefused(u32),
}

impl Allocator {
    /// Why the client has no offer. Empty if it can get one in the next round.
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
            } else if !admits(&self.policy, row, who.capabilities) {
                gpus += 1;
            } else if !who.preferences.admit(&row.properties) {
                excluded += 1;
            } else if row.available.allocatable_to(&who.role).is_empty()
                || !row.available_amounts.allocatable()
            {
                used_up += 1;
            } else if row.filters.refuses_any(now, client.0, who.generation) {
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
