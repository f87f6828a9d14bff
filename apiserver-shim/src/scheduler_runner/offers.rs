//! Offers that are ours for the moment, joined by role and agent as they come: a round finds them added up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use kernel_model::{
    ids::{AgentId, OfferId},
    offer::Offer,
    resources::Resources,
};
use shim_core::scheduler::Amounts;

use super::node_projection::{amounts, executor_share};
use super::pods::EXECUTOR_ID;

/// Role and agent.
pub(crate) type GroupKey = (Arc<str>, AgentId);

/// Offers of one agent in one role, joined.
#[derive(Debug)]
pub(crate) struct Group {
    offers: Vec<(OfferId, Resources)>,
    pub resources: Resources,
    pub executor_runs: bool,
    /// What Pods can have of it; the executor's share is taken off where it does not run yet.
    pub free: Amounts,
    /// The index of its machine, once it is known.
    machine: Option<usize>,
}

impl Group {
    /// The offers in it.
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

/// All offers.
#[derive(Debug, Default)]
pub(crate) struct OfferBook {
    groups: HashMap<GroupKey, Group>,
    key_of: HashMap<OfferId, GroupKey>,
    machines_moved: bool,
    ended: bool,
    asked_at: Option<Instant>,
}

impl OfferBook {
    /// An offer has come.
    pub fn put(&mut self, offer: &Offer) {
        let runs = offer.executor_ids.iter().any(|id| id.as_str() == EXECUTOR_ID);
        let key: GroupKey = (offer.role.as_str().into(), offer.agent_id.clone());
        self.key_of.insert(offer.id.clone(), key.clone());
        let group = self.groups.entry(key).or_insert_with(|| Group {
            offers: Vec::new(),
            resources: Resources::new(),
            executor_runs: false,
            free: Amounts::default(),
            machine: None,
        });
        group.offers.push((offer.id.clone(), offer.resources.clone()));
        group.executor_runs |= runs;
        group.add_up();
    }

    /// An offer is no longer ours.
    pub fn remove(&mut self, id: &OfferId) {
        let Some(key) = self.key_of.remove(id) else { return };
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.offers.retain(|(known, _)| known != id);
        if group.offers.is_empty() {
            self.groups.remove(&key);
        } else {
            group.add_up();
        }
    }

    /// Takes out all offers of one agent in one role.
    pub fn take(&mut self, key: &GroupKey) -> Option<Group> {
        let group = self.groups.remove(key)?;
        for (id, _) in &group.offers {
            self.key_of.remove(id);
        }
        Some(group)
    }

    /// Puts back what was taken out.
    pub fn put_back(&mut self, key: GroupKey, group: Group) {
        for (id, _) in &group.offers {
            self.key_of.insert(id.clone(), key.clone());
        }
        self.groups.insert(key, group);
    }

    /// Takes out the offers of these roles.
    pub fn take_of_roles(&mut self, roles: &BTreeSet<Arc<str>>) -> Vec<OfferId> {
        let keys: Vec<GroupKey> =
            self.groups.keys().filter(|(role, _)| roles.contains(role)).cloned().collect();
        keys.iter().filter_map(|key| self.take(key)).flat_map(Group::into_ids).collect()
    }

    /// Every group whose machine is known, in the order of machines and roles. `find` knows the machine of an agent.
    pub fn in_order(&mut self, find: impl Fn(&AgentId) -> Option<usize>) -> Vec<(usize, &GroupKey, &Group)> {
        let moved = std::mem::take(&mut self.machines_moved);
        for ((_, agent_id), group) in &mut self.groups {
            if moved || group.machine.is_none() {
                group.machine = find(agent_id);
            }
        }
        let known = self.groups.iter().filter_map(|(key, group)| Some((group.machine?, key, group)));
        let mut groups: Vec<_> = known.collect();
        groups.sort_unstable_by_key(|(machine, (role, _), _)| (*machine, role));
        groups
    }

    /// Machines are numbered otherwise from now on.
    pub fn forget_machines(&mut self) {
        self.machines_moved = true;
    }

    /// Whether there is no offer.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Forgets everything: the subscription is another one.
    pub fn clear(&mut self) {
        *self = OfferBook::default();
    }

    /// The subscription is over.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether it is.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Offers were asked for.
    pub fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// When they were asked for last.
    pub fn asked_at(&self) -> Option<Instant> {
        self.asked_at
    }
}
