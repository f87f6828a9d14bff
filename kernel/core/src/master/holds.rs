//! Holds: resources of an agent that are kept for one role after a preemption; see [`crate::allocator::Hold`].

use kernel_model::{
    caller::Caller,
    ids::{AgentId, FrameworkId, TaskId},
    resources::Resources,
    roles::Role,
    scheduler,
};
use std::time::Duration;

use super::{Answer, Master, Refusal};
use crate::allocator::Hold;

/// The longest hold: longer than the grace period of most tasks, and an agent is not kept idle for long if nobody comes.
const HOLD_MAX: Duration = Duration::from_secs(600);

impl Master {
    /// Keeps resources of an agent for a role of the framework, and rescinds the agent's offers to others that may have them.
    pub(super) fn hold(
        &mut self,
        framework_id: &FrameworkId,
        caller: &Caller,
        asked: scheduler::Hold,
    ) -> Result<Answer, Refusal> {
        if *caller != Caller::InProcess {
            return Err(Refusal::Forbidden("Only the master's own scheduler may hold resources".to_owned()));
        }
        let scheduler::Hold { id, agent_id, role, resources, freed_by, length } = asked;
        let unknown = || Refusal::Invalid(format!("Agent {agent_id} cannot be found"));
        self.agents.get(&agent_id).ok_or_else(unknown)?;
        let Some(client) = self.client_of(framework_id, &role) else {
            return Err(Refusal::Invalid(format!("Framework is not subscribed in role '{role}'")));
        };
        let freed = self.held_by_tasks(framework_id, &role, &freed_by);
        if !self.allocator.quota_allows(client, &resources.saturating_sub(&freed)) {
            return Err(Refusal::Conflict(format!("The quota of role '{role}' allows it no more")));
        }
        let until = self.now + length.min(HOLD_MAX);
        self.hold_for(&agent_id, Hold { id, role, resources, until });
        Ok(Answer::Accepted)
    }

    pub(super) fn release_hold(&mut self, agent_id: &AgentId, id: &str) {
        if let Some(agent) = self.agents.get(agent_id) {
            self.allocator.release_hold(agent.slot, id);
        }
    }

    /// Adds a hold, and rescinds the offers of the agent to other roles: what they have is free already.
    pub(super) fn hold_for(&mut self, agent_id: &AgentId, hold: Hold) {
        let Some(agent) = self.agents.get(agent_id) else { return };
        let others = |number: &u64| self.offers.get(number).is_some_and(|o| o.offer.role != hold.role);
        let rescinded: Vec<u64> = agent.offers.iter().copied().filter(others).collect();
        self.allocator.hold(agent.slot, hold);
        for number in rescinded {
            self.withdraw_offer(number, true);
        }
    }

    /// What some tasks of a framework hold in a role, without allocation roles.
    fn held_by_tasks(&self, framework_id: &FrameworkId, role: &Role, tasks: &[TaskId]) -> Resources {
        let mut held = Resources::new();
        let Some(framework) = self.frameworks.get(framework_id) else { return held };
        for task in tasks.iter().filter_map(|id| framework.tasks.get(id)) {
            held += &task.info.resources.allocated_in(role).unallocated();
        }
        held
    }
}
