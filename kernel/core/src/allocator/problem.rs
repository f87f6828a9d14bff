//! The allocator's decision as a function of values.
//!
//! What is wanted of [`allocate`], and which test of `tests/fairness.rs` and `tests/quota.rs` shows it:
//!
//! 1. *No resource twice*: what is allocated of an agent is part of what is free there. `no_resource_is_allocated_twice`
//! 2. *Weighted fairness at each level*: each allocation goes to the role, and in it to the framework, with the lowest dominant share by
//!    weight among those that can use it. So between siblings with demand the highest and the lowest share by weight never differ by
//!    more than one allocation. `shares_of_siblings_differ_by_one_allocation`
//! 3. *Sharing incentive*: everybody gets as many agents as its weight's part of them, rounded down, when all use what they are
//!    offered. (The rest of an agent of which a part is on offer may be left in one round, until that is answered.)
//!    `nobody_gets_less_than_its_part_of_the_agents`
//! 4. *Quota*: no allocation exceeds a limit of a role or of one above it, or takes what is guaranteed to others.
//!    `no_offer_exceeds_a_limit_or_takes_a_guarantee`
//! 5. *Nothing idle*: a second round allocates nothing; what is left is too small, refused, or kept by a quota.
//!    `a_second_round_allocates_nothing`
//! 6. *The same answer*: the result depends on nothing but the problem and the policy. `a_problem_has_one_answer`

use kernel_model::{ids::FrameworkId, quota::Quota, resources::Resources, roles::Role, time::Time};

use super::{AgentSlot, Allocation, Allocator, Capabilities, ClientSlot, Policy};

/// What there is to share, and who wants it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Problem {
    /// The total resources of each agent.
    pub agents: Vec<Resources>,
    /// The frameworks in their roles; all want offers.
    pub clients: Vec<(FrameworkId, Role, Capabilities)>,
    /// What is in use: on which agent, by which client, both by position.
    pub used: Vec<(usize, usize, Resources)>,
    /// Weights other than 1.
    pub weights: Vec<(Role, f64)>,
    /// The quotas of roles.
    pub quotas: Vec<(Role, Quota)>,
}

/// One round over all agents. Agents and clients in the result are numbered as in the problem. The master keeps an [`Allocator`]
/// instead, which does the same for what has changed.
pub fn allocate(problem: &Problem, policy: &Policy) -> Vec<Allocation> {
    problem.allocator(policy).run(Time(0))
}

impl Problem {
    /// An allocator in this situation, before its round.
    pub fn allocator(&self, policy: &Policy) -> Allocator {
        let mut allocator = Allocator::new(*policy);
        self.weights.iter().for_each(|(role, weight)| allocator.set_weight(role, *weight));
        self.quotas.iter().for_each(|(role, quota)| allocator.set_quota(role, quota));
        let agents: Vec<AgentSlot> =
            self.agents.iter().map(|total| allocator.add_agent(total, true)).collect();
        let add = |(framework, role, capabilities): &(FrameworkId, Role, Capabilities)| {
            allocator.add_client(framework, role, *capabilities)
        };
        let clients: Vec<ClientSlot> = self.clients.iter().map(add).collect();
        for (agent, client, resources) in &self.used {
            if let (Some(agent), Some(client)) = (agents.get(*agent), clients.get(*client)) {
                allocator.charge(*agent, *client, resources);
            }
        }
        clients.into_iter().for_each(|client| allocator.set_client_active(client, true));
        allocator
    }
}
