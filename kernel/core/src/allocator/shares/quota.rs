//! Quota: what each role consumes, what it may still get, and what others must leave for it.
//!
//! A node consumes what is allocated or offered to its clients, except reserved and revocable resources, and all that is reserved
//! for it or below it, whoever holds it. A limit holds for the whole subtree, and so does a guarantee: a role is limited by each
//! of its ancestors, and may use what is guaranteed to any of them.

use kernel_model::roles::Role;

use super::{ROOT, Shares};
use crate::allocator::amounts::Counts;

/// The quota of a node.
#[derive(Debug, Clone, Default)]
pub(in crate::allocator) struct NodeQuota {
    pub(in crate::allocator) guarantees: Counts,
    /// The names that are limited; those that are missing are not.
    pub(in crate::allocator) limits: Vec<(usize, i64)>,
}

/// What quotas allow a client of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::allocator) struct Allowance {
    /// How much more it may get before its role or an ancestor exceeds a limit, or could not give its other children what is
    /// guaranteed to them. `None` if nothing limits it.
    pub(in crate::allocator) room: Option<i64>,
    /// By how much less would be missing to all guarantees if the client got it.
    pub(in crate::allocator) owed: i64,
}

/// What a node consumes.
#[derive(Debug, Clone, Default)]
pub(super) struct Consumption {
    /// Allocated or offered, neither reserved nor revocable.
    counted: Counts,
    /// Reserved for the role and those below it.
    reserved: Counts,
    /// What is missing to the guarantees of the node, or of those below it if that is more.
    required: Counts,
    /// The sum of `required` of the children.
    required_below: Counts,
}

impl Consumption {
    fn of(&self, name: usize) -> i64 {
        self.counted.get(name).saturating_add(self.reserved.get(name))
    }

    pub(super) fn count(&mut self, amounts: &[(usize, i64)], sign: i64) {
        self.counted.add(amounts, sign);
    }
}

impl Shares {
    /// Whether any role has a quota.
    pub(in crate::allocator) fn has_quotas(&self) -> bool {
        self.quotas > 0
    }

    /// Whether any role has a guarantee.
    pub(in crate::allocator) fn has_guarantees(&self) -> bool {
        self.guarantees > 0
    }

    /// Sets or removes the quota of a role.
    pub(in crate::allocator) fn set_quota(&mut self, role: &Role, quota: Option<NodeQuota>) {
        let slot = self.node_of(role);
        let counts = |quota: &Option<Box<NodeQuota>>| {
            let guarantees = quota.as_ref().is_some_and(|quota| !quota.guarantees.is_zero());
            (u32::from(quota.is_some()), u32::from(guarantees))
        };
        let node = self.node_mut(slot);
        let before = counts(&node.quota);
        node.quota = quota.map(Box::new);
        let after = counts(&node.quota);
        self.quotas = self.quotas + after.0 - before.0;
        self.guarantees = self.guarantees + after.1 - before.1;
        self.refresh_required_from(slot);
        self.prune(slot);
    }

    /// More or fewer resources are reserved for a role.
    pub(in crate::allocator) fn change_reserved(&mut self, role: &Role, amounts: &[(usize, i64)], sign: i64) {
        let role_node = self.node_of(role);
        let mut slot = role_node;
        while slot != ROOT {
            let node = self.node_mut(slot);
            node.consumption.reserved.add(amounts, sign);
            slot = node.parent;
        }
        self.refresh_required_from(role_node);
        self.prune(role_node);
    }

    /// What the role consumes of a name.
    pub(in crate::allocator) fn consumed(&self, role: &Role, name: usize) -> i64 {
        let mut components = role.as_str().split('/');
        let node = components.try_fold(ROOT, |node, name| self.node(node).by_name.get(name).copied());
        node.map_or(0, |node| self.node(node).consumption.of(name))
    }

    /// What all roles together still miss of their guarantees.
    pub(in crate::allocator) fn required(&self, name: usize) -> i64 {
        self.node(ROOT).consumption.required_below.get(name)
    }

    /// Whether something is missing to any guarantee.
    pub(in crate::allocator) fn is_anything_required(&self) -> bool {
        self.guarantees > 0 && !self.node(ROOT).consumption.required_below.is_zero()
    }

    /// What the quotas of the client's role and its ancestors say about a name.
    pub(in crate::allocator) fn allowance(&self, client: u32, name: usize) -> Allowance {
        let mut allowance = Allowance::default();
        let Some(client) = self.clients.get(client as usize) else { return allowance };
        for slot in client.path.iter() {
            let node = self.node(*slot);
            let Some(quota) = &node.quota else { continue };
            let consumed = node.consumption.of(name);
            // What is guaranteed to other children stays for them.
            let below = node.consumption.required_below.get(name);
            let of_others = below.saturating_sub(allowance.owed).max(0);
            if let Some((_, limit)) = quota.limits.iter().find(|(limited, _)| *limited == name) {
                let left = limit.saturating_sub(consumed).max(0);
                let room = left.saturating_sub(of_others).max(left.min(allowance.owed));
                allowance.room = Some(allowance.room.map_or(room, |known| known.min(room)));
            }
            let own = quota.guarantees.get(name).saturating_sub(consumed).max(0);
            allowance.owed = allowance.owed.saturating_add(own.saturating_sub(below).max(0));
        }
        allowance
    }

    /// Recomputes what is missing, from a node to the root.
    pub(super) fn refresh_required_from(&mut self, mut slot: u32) {
        while slot != ROOT {
            self.refresh_required(slot);
            slot = self.node(slot).parent;
        }
    }

    /// Recomputes what is missing to the guarantees of one node, and adds the difference to its parent.
    pub(super) fn refresh_required(&mut self, slot: u32) {
        let node = self.node(slot);
        let names = node.consumption.required_below.len().max(node.consumption.required.len());
        let names = node.quota.as_ref().map_or(names, |quota| names.max(quota.guarantees.len()));
        let parent = node.parent;
        for name in 0..names {
            let node = self.node(slot);
            let guarantee = node.quota.as_ref().map_or(0, |quota| quota.guarantees.get(name));
            let own = guarantee.saturating_sub(node.consumption.of(name)).max(0);
            let required = own.max(node.consumption.required_below.get(name));
            let before = node.consumption.required.get(name);
            if required != before {
                self.node_mut(slot).consumption.required.add(&[(name, required - before)], 1);
                self.node_mut(parent).consumption.required_below.add(&[(name, required - before)], 1);
            }
        }
    }

    /// Whether a node must stay although it has no clients.
    fn is_pinned(&self, slot: u32) -> bool {
        let node = self.node(slot);
        node.quota.is_some() || !node.consumption.reserved.is_zero()
    }

    /// Removes the node and its ancestors, as far as they have no children and no quota. Their weights are kept.
    pub(super) fn prune(&mut self, mut node: u32) {
        while node != ROOT && self.node(node).children.is_empty() && !self.is_pinned(node) {
            let removed = self.nodes.remove(node as usize);
            let parent = self.node_mut(removed.parent);
            parent.by_name.remove(&removed.name);
            parent.children.retain(|&c| c != node);
            parent.demand.set(None);
            node = removed.parent;
        }
    }
}
