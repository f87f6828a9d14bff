//! Why a client has no offer: typed reasons, counted over the agents.

use std::{collections::BTreeMap, fmt};

use kernel_model::{quota::Quantities, resources::Resource, time::Time};

use super::{
    AgentRow, Allocator, ClientSlot,
    quota::QuotaBound,
    shares::{Attention, Client},
    take::admits,
};

/// A reason why a framework gets no offer in a role. An agent is counted under the first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitReason {
    /// The framework is disconnected, or it suppressed the role.
    NotAsking,
    /// Its offers expired unanswered, so it is offered nothing for a while.
    NotAnswering,
    /// There are no agents.
    NoAgents,
    /// The role, or one above it, has reached a limit of its quota, or what the limit leaves is less than the framework wants.
    QuotaLimit,
    /// Agents that are disconnected or deactivated.
    AgentsInactive(u32),
    /// Agents with GPUs, for a framework without GPU_RESOURCES.
    AgentsHaveGpus(u32),
    /// Agents that the framework's offer constraints exclude.
    AgentsExcluded(u32),
    /// Agents of which nothing is free.
    AgentsUsedUp(u32),
    /// Agents whose free resources are reserved for other roles.
    AgentsReserved(u32),
    /// Agents whose free resources need a capability that the framework does not have: revocable or shared resources, or
    /// several reservations.
    AgentsNeedCapability(u32),
    /// Agents with less left than the smallest offer, the cluster's or the framework's own.
    AgentsTooSmall(u32),
    /// Agents whose free resources are filtered: the framework declined them.
    AgentsRefused(u32),
    /// Agents whose free resources are guaranteed to other roles, which do not hold as much as is guaranteed to them; what is left of
    /// them is less than the framework wants.
    AgentsKeptForGuarantees(u32),
    /// Agents whose free resources are held for another role: a preemption freed them for it.
    AgentsHeld(u32),
    /// Agents whose free resources are kept for others that are further below their share.
    AgentsKeptForOthers(u32),
}

impl WaitReason {
    /// A stable name for programs.
    pub fn code(self) -> &'static str {
        match self {
            WaitReason::NotAsking => "NOT_ASKING",
            WaitReason::NotAnswering => "NOT_ANSWERING",
            WaitReason::NoAgents => "NO_AGENTS",
            WaitReason::QuotaLimit => "QUOTA_LIMIT",
            WaitReason::AgentsInactive(_) => "AGENTS_INACTIVE",
            WaitReason::AgentsHaveGpus(_) => "GPU_CAPABILITY",
            WaitReason::AgentsExcluded(_) => "CONSTRAINT",
            WaitReason::AgentsUsedUp(_) => "RESOURCES_IN_USE",
            WaitReason::AgentsReserved(_) => "RESERVATION",
            WaitReason::AgentsNeedCapability(_) => "CAPABILITY",
            WaitReason::AgentsTooSmall(_) => "MINIMUM_OFFER",
            WaitReason::AgentsRefused(_) => "FILTER",
            WaitReason::AgentsKeptForGuarantees(_) => "QUOTA_GUARANTEE",
            WaitReason::AgentsHeld(_) => "HELD",
            WaitReason::AgentsKeptForOthers(_) => "SHARE",
        }
    }

    /// The number of agents that it is about; `None` if it is about the framework.
    pub fn agents(self) -> Option<u32> {
        match self {
            WaitReason::NotAsking
            | WaitReason::NotAnswering
            | WaitReason::NoAgents
            | WaitReason::QuotaLimit => None,
            WaitReason::AgentsInactive(count)
            | WaitReason::AgentsHaveGpus(count)
            | WaitReason::AgentsExcluded(count)
            | WaitReason::AgentsUsedUp(count)
            | WaitReason::AgentsReserved(count)
            | WaitReason::AgentsNeedCapability(count)
            | WaitReason::AgentsTooSmall(count)
            | WaitReason::AgentsRefused(count)
            | WaitReason::AgentsKeptForGuarantees(count)
            | WaitReason::AgentsHeld(count)
            | WaitReason::AgentsKeptForOthers(count) => Some(count),
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(count) = self.agents() {
            write!(f, "{count} agent(s) ")?;
        }
        f.write_str(match self {
            WaitReason::NotAsking => "the framework asks for nothing",
            WaitReason::NotAnswering => {
                "earlier offers expired without an answer; it is offered more after a pause"
            }
            WaitReason::NoAgents => "there are no agents",
            WaitReason::QuotaLimit => {
                "the role, or one above it, has reached a limit of its quota, or has less left than is wanted"
            }
            WaitReason::AgentsInactive(_) => "are disconnected or deactivated",
            WaitReason::AgentsHaveGpus(_) => "have GPUs, and the framework has no capability GPU_RESOURCES",
            WaitReason::AgentsExcluded(_) => "are excluded by the framework's offer constraints",
            WaitReason::AgentsUsedUp(_) => "have nothing free: all is in use or offered",
            WaitReason::AgentsReserved(_) => "have free only what is reserved for other roles",
            WaitReason::AgentsNeedCapability(_) => {
                "have free only what needs a capability that the framework lacks"
            }
            WaitReason::AgentsTooSmall(_) => "have less free than the smallest offer",
            WaitReason::AgentsRefused(_) => "have free only what the framework declined for now",
            WaitReason::AgentsKeptForGuarantees(_) => {
                "have free what is guaranteed to other roles, and too little beyond that"
            }
            WaitReason::AgentsHeld(_) => "have free only what a preemption freed for another role",
            WaitReason::AgentsKeptForOthers(_) => {
                "keep their rest for others that are further below their share"
            }
        })
    }
}

impl Allocator {
    /// Why the client has no offer. Empty if it can get one in the next round. `wanted` is what it says that it needs; without it, it is
    /// taken to need more than it declined.
    pub fn explain(&self, now: Time, client: ClientSlot, wanted: Option<&Quantities>) -> Vec<WaitReason> {
        let Some(who) = self.shares.client(client.0).filter(|who| who.active) else {
            return vec![WaitReason::NotAsking];
        };
        if self.agents.is_empty() {
            return vec![WaitReason::NoAgents];
        }
        if self.shares.attention(client.0, now) == Attention::None {
            return vec![WaitReason::NotAnswering];
        }
        self.reasons(now, client, who, wanted)
    }

    /// The quotas that would keep offers from the client if it asked for any.
    pub fn explain_quotas(
        &self,
        now: Time,
        client: ClientSlot,
        wanted: Option<&Quantities>,
    ) -> Vec<WaitReason> {
        let Some(who) = self.shares.client(client.0) else { return Vec::new() };
        let mut reasons = self.reasons(now, client, who, wanted);
        reasons.retain(|reason| {
            matches!(reason, WaitReason::QuotaLimit | WaitReason::AgentsKeptForGuarantees(_))
        });
        reasons
    }

    fn reasons(
        &self,
        now: Time,
        client: ClientSlot,
        who: &Client,
        wanted: Option<&Quantities>,
    ) -> Vec<WaitReason> {
        let bound = wanted.map(|wanted| self.bound_by_demand(client.0, wanted));
        let mut counted: BTreeMap<WaitReason, u32> = BTreeMap::new();
        if self.has_reached_a_limit(client.0) {
            counted.insert(WaitReason::QuotaLimit, 0);
        }
        for reason in self.agents.iter().filter_map(|(_, row)| self.of_agent(now, client, who, row, bound)) {
            *counted.entry(reason(0)).or_default() += 1;
        }
        counted.into_iter().map(|(reason, count)| reason.counting(count)).collect()
    }

    /// The first reason that holds for an agent; `None` if the client may be offered something of it. `bound` is the quota that keeps
    /// from it what it wants, if that is known.
    fn of_agent(
        &self,
        now: Time,
        client: ClientSlot,
        who: &Client,
        row: &AgentRow,
        bound: Option<Option<QuotaBound>>,
    ) -> Option<fn(u32) -> WaitReason> {
        let free = |keep: &dyn Fn(&Resource) -> bool| row.available.filter(keep);
        let usable = |r: &Resource| {
            (who.capabilities.revocable || !r.revocable)
                && (who.capabilities.shared || !r.shared)
                && (who.capabilities.refined || r.reservations.len() <= 1)
        };
        if !row.active {
            return Some(WaitReason::AgentsInactive);
        }
        if !admits(&self.policy, row, who.capabilities) {
            return Some(WaitReason::AgentsHaveGpus);
        }
        if !who.preferences.admit(&row.properties) {
            return Some(WaitReason::AgentsExcluded);
        }
        if row.available.is_empty() {
            return Some(WaitReason::AgentsUsedUp);
        }
        let allocatable = free(&|r| r.is_allocatable_to(&who.role));
        if allocatable.is_empty() {
            return Some(WaitReason::AgentsReserved);
        }
        let mut offer = allocatable.filter(usable);
        if offer.is_empty() {
            return Some(WaitReason::AgentsNeedCapability);
        }
        if !who.preferences.meets_minimum(&offer, row.available_amounts.allocatable()) {
            return Some(WaitReason::AgentsTooSmall);
        }
        if let Some(held) = row.held_for_others(&who.role) {
            offer = offer.saturating_sub(&held);
        }
        if offer.is_empty() {
            return Some(WaitReason::AgentsHeld);
        }
        match bound.unwrap_or_else(|| self.bound_of_offer(now, client.0, row, &offer)) {
            Some(QuotaBound::Limit) => return Some(|_| WaitReason::QuotaLimit),
            Some(QuotaBound::Guarantee) => return Some(WaitReason::AgentsKeptForGuarantees),
            None => {}
        }
        if row.filters.refuses_any(now, client.0, who.generation) {
            return Some(WaitReason::AgentsRefused);
        }
        row.leftover_until.is_some_and(|until| until > now).then_some(WaitReason::AgentsKeptForOthers)
    }
}

impl WaitReason {
    /// The same reason for this many agents.
    fn counting(self, count: u32) -> WaitReason {
        match self {
            WaitReason::NotAsking
            | WaitReason::NotAnswering
            | WaitReason::NoAgents
            | WaitReason::QuotaLimit => self,
            WaitReason::AgentsInactive(_) => WaitReason::AgentsInactive(count),
            WaitReason::AgentsHaveGpus(_) => WaitReason::AgentsHaveGpus(count),
            WaitReason::AgentsExcluded(_) => WaitReason::AgentsExcluded(count),
            WaitReason::AgentsUsedUp(_) => WaitReason::AgentsUsedUp(count),
            WaitReason::AgentsReserved(_) => WaitReason::AgentsReserved(count),
            WaitReason::AgentsNeedCapability(_) => WaitReason::AgentsNeedCapability(count),
            WaitReason::AgentsTooSmall(_) => WaitReason::AgentsTooSmall(count),
            WaitReason::AgentsRefused(_) => WaitReason::AgentsRefused(count),
            WaitReason::AgentsKeptForGuarantees(_) => WaitReason::AgentsKeptForGuarantees(count),
            WaitReason::AgentsHeld(_) => WaitReason::AgentsHeld(count),
            WaitReason::AgentsKeptForOthers(_) => WaitReason::AgentsKeptForOthers(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kernel_model::{
        ids::FrameworkId, offer_preferences::OfferPreferences, resources::Resources, roles::Role,
    };

    use super::*;
    use crate::allocator::{Capabilities, CompiledPreferences, Policy};

    fn pool() -> Allocator {
        Allocator::new(Policy { filter_gpu_agents: true, shortest_refusal: Duration::from_secs(1) })
    }

    fn client(pool: &mut Allocator, role: &str) -> ClientSlot {
        let role = Role::parse(role).unwrap();
        let client = pool.add_client(&FrameworkId::from("f"), &role, Capabilities::default());
        pool.set_client_active(client, true);
        client
    }

    #[test]
    fn what_is_free_may_be_for_others() {
        for (resources, expected) in [
            ("cpus(other):4;mem(other):1024", WaitReason::AgentsReserved(1)),
            ("cpus:0.001", WaitReason::AgentsTooSmall(1)),
        ] {
            let mut pool = pool();
            let asking = client(&mut pool, "role");
            let total: Resources = resources.parse().unwrap();
            pool.add_agent(&total, true);
            assert_eq!(pool.run(Time(0)), [], "{resources}");
            assert_eq!(pool.explain(Time(0), asking, None), [expected], "{resources}");
        }
    }

    #[test]
    fn resources_may_need_a_capability() {
        let mut pool = pool();
        let asking = client(&mut pool, "role");
        let plain: Resources = "cpus:4;mem:1024".parse().unwrap();
        let revocable: Resources = plain.iter().map(|r| Resource { revocable: true, ..r.clone() }).collect();
        pool.add_agent(&revocable, true);
        assert_eq!(pool.run(Time(0)), []);
        assert_eq!(pool.explain(Time(0), asking, None), [WaitReason::AgentsNeedCapability(1)]);
    }

    #[test]
    fn a_framework_may_want_larger_offers() {
        let mut pool = pool();
        let asking = client(&mut pool, "role");
        let role = Role::parse("role").unwrap();
        let amounts = [("cpus".to_owned(), kernel_model::resources::Scalar::from_units(8))].into();
        let preferences = OfferPreferences {
            min_allocatable: [(role.clone(), vec![amounts])].into(),
            ..OfferPreferences::default()
        };
        let compiled = CompiledPreferences::new(&preferences).unwrap();
        pool.set_client_preferences(asking, compiled.of(&role));
        pool.add_agent(&"cpus:4;mem:1024".parse().unwrap(), true);
        pool.add_agent(&"cpus:4;mem:1024".parse().unwrap(), true);
        assert_eq!(pool.explain(Time(0), asking, None), [WaitReason::AgentsTooSmall(2)]);
        let told = WaitReason::AgentsTooSmall(2);
        assert_eq!(told.to_string(), "2 agent(s) have less free than the smallest offer");
        assert_eq!((told.code(), told.agents()), ("MINIMUM_OFFER", Some(2)));
    }

    #[test]
    fn nothing_is_explained_without_a_question() {
        let mut pool = pool();
        let asking = client(&mut pool, "role");
        assert_eq!(pool.explain(Time(0), asking, None), [WaitReason::NoAgents]);
        pool.add_agent(&"cpus:4;mem:1024".parse().unwrap(), true);
        assert_eq!(pool.explain(Time(0), asking, None), [], "it gets an offer in the next round");
        assert_eq!(pool.run(Time(0)).len(), 1);
        assert_eq!(pool.explain(Time(0), asking, None), [WaitReason::AgentsUsedUp(1)]);
        pool.set_client_active(asking, false);
        assert_eq!(pool.explain(Time(0), asking, None), [WaitReason::NotAsking]);
    }
}
