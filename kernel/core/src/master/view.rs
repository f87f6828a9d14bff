//! Read access to the master for HTTP servers and projections.

use std::collections::BTreeMap;

use kernel_model::{
    agent::AgentSnapshot,
    ids::{AgentId, FrameworkId, OfferId, StreamId},
    offer::Offer,
    resources::Resources,
    roles::Role,
};

use super::{
    Master,
    effect::Record,
    registry::Registry,
    state::{AbsentAgent, Agent, Framework, MasterConfig, RoleView},
};
use crate::{
    allocator::{Allocator, Hold, WaitReason},
    effect::LinkId,
};

impl Master {
    /// The configuration.
    pub fn config(&self) -> &MasterConfig {
        &self.config
    }

    /// The durable state.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registered agents: connected or disconnected.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Looks up a registered agent.
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// Agents of the registry that are not registered: recovered or unreachable.
    pub fn absent_agents(&self) -> impl Iterator<Item = &AbsentAgent> {
        self.absent.values()
    }

    /// Agents of the registry that have not re-registered since the master started.
    pub fn recovered_agents(&self) -> impl Iterator<Item = &AbsentAgent> {
        self.absent.values().filter(|a| a.unreachable_since.is_none())
    }

    /// All agents, registered and absent, for the initial state of a projection.
    pub fn agent_snapshots(&self) -> Vec<AgentSnapshot> {
        let present = self.agents.values().map(Agent::snapshot);
        present.chain(self.absent.values().map(AbsentAgent::snapshot)).collect()
    }

    /// Frameworks that have not ended.
    pub fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.frameworks.values()
    }

    /// Looks up a framework that has not ended.
    pub fn framework(&self, id: &FrameworkId) -> Option<&Framework> {
        self.frameworks.get(id)
    }

    /// Completed frameworks, oldest first.
    pub fn completed_frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.completed.iter().map(|framework| &**framework)
    }

    /// The outstanding offers of a framework, or of all frameworks.
    pub fn offers<'a>(&'a self, of: Option<&'a FrameworkId>) -> impl Iterator<Item = &'a Offer> {
        let own = of.map(|id| self.frameworks.get(id).into_iter().flat_map(|f| f.offers.iter()));
        let all = of.is_none().then(|| self.offers.values());
        let own = own.into_iter().flatten().filter_map(|number| self.offers.get(number));
        own.chain(all.into_iter().flatten()).map(|outstanding| &*outstanding.offer)
    }

    /// Looks up an outstanding offer.
    pub fn offer(&self, id: &OfferId) -> Option<&Offer> {
        self.offers.get(&self.offer_number(id)?).map(|outstanding| &*outstanding.offer)
    }

    /// The resources of a framework's tasks and executors on all agents.
    pub fn allocated_to(&self, id: &FrameworkId) -> Resources {
        let mut sum = Resources::new();
        for held in self.agents.values().filter_map(|a| a.allocated.get(id)) {
            sum += held;
        }
        sum
    }

    /// The resources offered to a framework.
    pub fn offered_to(&self, id: &FrameworkId) -> Resources {
        let mut sum = Resources::new();
        for offer in self.offers(Some(id)) {
            sum += &offer.resources;
        }
        sum
    }

    /// The active filters of each role with frameworks. A snapshot does not have them.
    pub fn offer_filters(&self) -> BTreeMap<Role, u64> {
        let mut filters = BTreeMap::new();
        for (role, client) in self.frameworks.values().flat_map(|framework| &framework.clients) {
            *filters.entry(role.clone()).or_default() += self.allocator.filter_count(*client);
        }
        filters
    }

    /// Roles with frameworks, weights, quotas or reservations, ordered by name.
    pub fn roles(&self) -> Vec<RoleView> {
        let mut roles: BTreeMap<Role, RoleView> = BTreeMap::new();
        let mut add_role = |role: &Role| {
            roles.entry(role.clone()).or_insert_with(|| RoleView {
                role: role.clone(),
                weight: self.weight_of(role),
                quota: self.quota_of(role).cloned().unwrap_or_default(),
                frameworks: Vec::new(),
                allocated: Resources::new(),
                offered: Resources::new(),
                reserved: Resources::new(),
            });
        };
        self.weights().for_each(|(role, _)| add_role(role));
        self.quotas().for_each(|(role, _)| add_role(role));
        for resource in self.agents.values().flat_map(|a| a.info.resources.iter()) {
            resource.reservations.iter().for_each(|level| add_role(&level.role));
        }
        for framework in self.frameworks.values() {
            framework.clients.keys().for_each(&mut add_role);
        }
        for framework in self.frameworks.values() {
            for role in &framework.info.roles {
                if let Some(view) = roles.get_mut(role) {
                    view.frameworks.push(framework.id.clone());
                }
            }
        }
        let mut add_to_lineage = |role: &Role, of: fn(&mut RoleView) -> &mut Resources, more: &Resources| {
            for ancestor in role.lineage().filter_map(|name| Role::parse(name).ok()) {
                if let Some(view) = roles.get_mut(&ancestor) {
                    *of(view) += more;
                }
            }
        };
        for agent in self.agents.values() {
            for held in agent.allocated.values() {
                for role in held.allocation_roles() {
                    let part = held.allocated_in(role).unallocated();
                    add_to_lineage(role, |view| &mut view.allocated, &part);
                }
            }
            for role in agent.offered.allocation_roles() {
                let part = agent.offered.allocated_in(role).unallocated();
                add_to_lineage(role, |view| &mut view.offered, &part);
            }
            for resource in &agent.info.resources {
                if let Some(top) = resource.reservation() {
                    let part = Resources::from_iter([resource.clone()]);
                    add_to_lineage(&top.role, |view| &mut view.reserved, &part);
                }
            }
        }
        roles.into_values().collect()
    }

    /// The weights that were set.
    pub fn weights(&self) -> impl Iterator<Item = (&Role, f64)> {
        self.registry.iter().filter_map(|record| match record {
            Record::Weight { role, weight } => Some((role, *weight)),
            _ => None,
        })
    }

    /// Why a framework has no offer now, role by role. No reason means that it may get one any moment, or has one.
    pub fn explain(&self, id: &FrameworkId) -> Vec<(Role, Vec<WaitReason>)> {
        let Some(framework) = self.frameworks.get(id) else { return Vec::new() };
        let why = |(role, client): (&Role, &_)| {
            let wanted = self.guarantees.wanted_by(id, role);
            (role.clone(), self.allocator.explain(self.now, *client, wanted))
        };
        framework.clients.iter().map(why).collect()
    }

    /// The dominant share of a framework in a role, offers included.
    pub fn dominant_share(&self, id: &FrameworkId, role: &Role) -> f64 {
        let client = self.frameworks.get(id).and_then(|f| f.clients.get(role));
        client.map_or(0.0, |client| self.allocator.dominant_share(*client))
    }

    /// The agent of each open link.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, Option<&AgentId>)> {
        self.links.iter().map(|(id, link)| (*id, link.agent.as_ref()))
    }

    /// The framework of each open stream.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamId, &FrameworkId)> {
        self.streams.iter()
    }

    /// What is held on agents.
    pub fn holds(&self) -> impl Iterator<Item = (&AgentId, &Hold)> {
        let on = |agent: &Agent| self.allocator.holds(agent.slot);
        self.agents.values().flat_map(move |agent| on(agent).iter().map(move |hold| (&agent.id, hold)))
    }

    /// For the auditor.
    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
    }
}
