//! The offers that we hold, summed by role and agent as they arrive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use kernel_model::{
    ids::{AgentId, OfferId},
    offer::Offer,
    resources::Resources,
    time::Time,
};

use super::framework::EXECUTOR_ID;
use super::node_projection::{amounts, executor_share};
use crate::scheduler::Amounts;

/// Role and agent.
pub(super) type GroupKey = (Arc<str>, AgentId);

/// The offers of one agent to one role, summed.
#[derive(Debug)]
pub(super) struct Group {
    offers: Vec<(OfferId, Resources)>,
    pub resources: Resources,
    pub executor_runs: bool,
    /// The resources available to Pods, without the executor's share if it is not running yet.
    pub free: Amounts,
}

impl Group {
    /// The IDs of the offers in the group.
    pub fn into_ids(self) -> Vec<OfferId> {
        self.offers.into_iter().map(|(id, _)| id).collect()
    }

    fn add_up(&mut self) {
        self.resources = Resources::new();
        for (_, resources) in &self.offers {
            self.resources += resources;
        }
        self.free = amounts(&self.resources);
        if !self.executor_runs {
            self.free.subtract(&executor_share());
        }
    }
}

/// All offers that we hold.
#[derive(Debug, Default)]
pub(super) struct OfferCache {
    groups: BTreeMap<Arc<str>, IndexMap<AgentId, Group>>,
    key_of: HashMap<OfferId, GroupKey>,
    /// Agents whose offers have changed.
    changed: Vec<AgentId>,
    asked_at: Option<Time>,
}

impl OfferCache {
    /// Adds an offer.
    pub fn put(&mut self, offer: &Offer) {
        let runs = offer.executor_ids.iter().any(|id| id.as_str() == EXECUTOR_ID);
        let known = self.groups.get_key_value(offer.role.as_str());
        let role = known.map_or_else(|| offer.role.as_str().into(), |(role, _)| role.clone());
        self.key_of.insert(offer.id.clone(), (role.clone(), offer.agent_id.clone()));
        let group = self.groups.entry(role).or_default();
        let group = group.entry(offer.agent_id.clone()).or_insert_with(|| Group {
            offers: Vec::new(),
            resources: Resources::new(),
            executor_runs: false,
            free: Amounts::default(),
        });
        group.offers.push((offer.id.clone(), offer.resources.clone()));
        group.executor_runs |= runs;
        group.add_up();
        self.changed.push(offer.agent_id.clone());
    }

    /// Removes an offer that we no longer hold.
    pub fn remove(&mut self, id: &OfferId) {
        let Some(key) = self.key_of.remove(id) else { return };
        let Some(mut group) = self.take(&key) else { return };
        group.offers.retain(|(known, _)| known != id);
        if !group.offers.is_empty() {
            group.add_up();
            self.put_back(key, group);
        }
    }

    /// The offers of one agent to one role.
    pub fn group(&self, role: &str, agent: &AgentId) -> Option<&Group> {
        self.groups.get(role)?.get(agent)
    }

    /// Removes and returns a group.
    pub fn take(&mut self, (role, agent): &GroupKey) -> Option<Group> {
        let groups = self.groups.get_mut(role)?;
        let group = groups.swap_remove(agent)?;
        if groups.is_empty() {
            self.groups.remove(role);
        }
        for (id, _) in &group.offers {
            self.key_of.remove(id);
        }
        self.changed.push(agent.clone());
        Some(group)
    }

    /// Puts a removed group back.
    pub fn put_back(&mut self, (role, agent): GroupKey, group: Group) {
        for (id, _) in &group.offers {
            self.key_of.insert(id.clone(), (role.clone(), agent.clone()));
        }
        self.changed.push(agent.clone());
        self.groups.entry(role).or_default().insert(agent, group);
    }

    /// Removes and returns the offers to these roles.
    pub fn take_of_roles(&mut self, roles: &BTreeSet<Arc<str>>) -> Vec<OfferId> {
        let groups = roles.iter().filter_map(|role| self.groups.remove(role)).flatten();
        let mut ids = Vec::new();
        for (agent, group) in groups {
            self.changed.push(agent);
            ids.extend(group.into_ids());
        }
        ids.iter().for_each(|id| drop(self.key_of.remove(id)));
        ids
    }

    /// The agents whose offers have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<AgentId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether there are no offers.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Removes all offers: a new subscription has begun.
    pub fn clear(&mut self) {
        *self = OfferCache::default();
    }

    /// Records that offers were requested.
    pub fn asked(&mut self, now: Time) {
        self.asked_at = Some(now);
    }

    /// When offers were last requested.
    pub fn asked_at(&self) -> Option<Time> {
        self.asked_at
    }
}
