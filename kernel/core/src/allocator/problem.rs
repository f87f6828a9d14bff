//! The allocator's decision as a function of values.
//!
//! What is wanted of [`allocate`], and which test of `tests/fairness.rs`, `tests/market.rs`,
//! `tests/quota.rs` and `tests/situations.rs` shows it:
//!
//! 1. *No resource twice*: what is allocated of an agent is part of what is free there. `no_resource_is_allocated_twice`
//! 2. *Weighted fairness at each level*: each allocation goes to the role, and in it to the framework, with the lowest dominant share by
//!    weight among those that can use it. So between siblings with demand the highest and the lowest share by weight never differ by
//!    more than one allocation, but for what fills guarantees, which come first. One whom the whole machine would lift above its fair
//!    share is passed over as long as others have room for it in theirs; the bound still holds if each fair share has room for the
//!    largest machine. (Machines that are larger than fair shares are offered in parts, and who has its part waits for the others.)
//!    `shares_of_siblings_differ_by_one_allocation`
//! 3. *Sharing incentive*: everybody gets as many agents as its weight's part of them, rounded down, when all use what they are
//!    offered. (The rest of an agent of which a part is on offer may be left in one round, until that is answered.)
//!    `nobody_gets_less_than_its_part_of_the_agents`
//! 4. *Quota*: no allocation exceeds a limit of a role or of one above it, or takes what is guaranteed to others.
//!    `no_offer_exceeds_a_limit_or_takes_a_guarantee`
//! 5. *Nothing idle*: a second round allocates nothing; what is left is too small, refused, or kept by a quota.
//!    `a_second_round_allocates_nothing`
//! 6. *No gain from lies, sharing pays, no envy, with machines and tasks of any shape*: a framework that asks for more than its tasks need
//!    runs no more of them than otherwise, and nobody would run more with its weight's part of each machine for itself, by more than
//!    fit on one machine. One machine is what one allocation is worth: a bound of one task would need allocations of one task. And
//!    nobody would rather have what another got in turns that it could have used itself, in proportion to weights, without the last of
//!    these turns. `with_agents_one_by_one_sharing_pays_lies_do_not_and_nobody_envies_more_than_a_turn`
//! 7. *Among frameworks whose tasks nobody knows yet*, which are offered all machines at once, turns on whole machines are not taken back, and
//!    what is left of a machine of which one resource is used up goes to whoever fits: then a lie may gain half a machine more, and
//!    of a thousand pairs of frameworks fewer than one has envy beyond one machine.
//!    `with_all_agents_at_once_sharing_pays_and_hardly_anybody_envies_more_than_a_turn`
//! 8. *Re-convergence*: what a framework that left or a task that ended set free is allocated at once, none of it to one
//!    that is ahead of another by more than an allocation, and nothing is left while anybody wants it. `one_event_is_settled_at_once`
//! 9. *The same answer*: the result depends on nothing but the problem and the policy. `a_problem_has_one_answer`. The master's
//!    [`Allocator`], which has got there by events in any order, decides the same, with use, quotas, reservations and nested
//!    roles; of equal shares the one with fewer allocations goes first, so those count. `the_way_to_a_situation_does_not_matter`

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
