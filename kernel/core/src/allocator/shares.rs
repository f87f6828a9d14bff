//! The role tree and the order of clients. All lists of siblings are kept sorted: a charge moves one client, and one
//! node on each level above it.
//!
//! A role's own clients are in a leaf `<role>/.` beside its subroles, so that the role competes with its children as
//! one of them.

mod answers;
mod headroom;
mod holders;
mod order;
mod quota;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel_model::{ids::FrameworkId, resources::Resources, roles::Role, time::Time};
use slab::Slab;

pub(super) use answers::{Appetite, Attention};
pub(super) use order::OrderCursor;
pub(super) use quota::NodeQuota;

use super::{Capabilities, ClientPreferences, amounts::Amounts, filters::FilterOwner, slot_of};
use answers::Answers;
use headroom::Demand;
use quota::Consumption;

const ROOT: u32 = 0;

#[derive(Debug, Clone)]
struct Node {
    /// The last component of the role's path, also the last tie-breaker between siblings.
    name: Box<str>,
    parent: u32,
    weight: f64,
    share_state: ShareState,
    /// Child nodes of an inner node, clients of a leaf; in order.
    children: Vec<u32>,
    /// Child nodes by name.
    by_name: BTreeMap<Box<str>, u32>,
    is_leaf: bool,
    /// Active clients in the subtree.
    active_clients: u32,
    /// Those of them that are [looking](Shares::is_looking).
    looking_clients: u32,
    /// What [`Shares::headroom`] needs to know of the children, cached until one of them changes.
    demand: Cell<Option<Demand>>,
    /// `None` without limits and guarantees.
    quota: Option<Box<NodeQuota>>,
    consumption: Consumption,
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) capabilities: Capabilities,
    pub(super) preferences: ClientPreferences,
    pub(super) active: bool,
    /// Filters of earlier generations are void.
    pub(super) generation: u64,
    /// Its filters on all agents.
    pub(super) filters: u64,
    answers: Answers,
    /// Its nodes from the leaf to the root.
    path: Arc<[u32]>,
    share_state: ShareState,
    /// What it was allocated last, without and with its role: agents of one size share both.
    allocated: (Resources, Resources),
}

impl Client {
    fn leaf(&self) -> u32 {
        self.path[0]
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct ShareState {
    charged: Amounts,
    /// The number of charges, the first tie-breaker.
    count: u64,
    /// The dominant share divided by the weight.
    share: f64,
}

/// All roles and clients, in order of their shares.
#[derive(Debug)]
pub(super) struct Shares {
    pool: Amounts,
    nodes: Slab<Node>,
    clients: Slab<Client>,
    weights: BTreeMap<Box<str>, f64>,
    generation: u64,
    /// Unanswered offers of all clients that are not lagging.
    awaited: i64,
    /// The clients that are not lagging and have unanswered offers.
    awaited_from: BTreeSet<u32>,
    /// When a client lags unless it answers before.
    lag_deadlines: BTreeSet<(Time, u32)>,
    /// The clients that lag.
    lagging: BTreeSet<u32>,
    /// The clients that got their first unanswered offer in this round.
    offered_in_round: Vec<u32>,
    /// Whether [`Shares::overdue`] has something to look for.
    check_lagging: bool,
    /// Clients with their own minimum size of offers.
    own_minimums: u32,
    /// Roles with a quota.
    quotas: u32,
    /// Roles with a guarantee.
    guarantees: u32,
    /// The pool or a weight changed: all shares must be recomputed.
    stale: bool,
}

impl Default for Shares {
    fn default() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new("", ROOT, 1.0, false));
        Self {
            pool: Amounts::default(),
            nodes,
            clients: Slab::new(),
            weights: BTreeMap::new(),
            generation: 0,
            awaited: 0,
            awaited_from: BTreeSet::new(),
            lag_deadlines: BTreeSet::new(),
            lagging: BTreeSet::new(),
            offered_in_round: Vec::new(),
            check_lagging: false,
            own_minimums: 0,
            quotas: 0,
            guarantees: 0,
            stale: false,
        }
    }
}

impl Node {
    fn new(name: &str, parent: u32, weight: f64, is_leaf: bool) -> Self {
        Self {
            name: name.into(),
            parent,
            weight,
            share_state: ShareState::default(),
            children: Vec::new(),
            by_name: BTreeMap::new(),
            is_leaf,
            active_clients: 0,
            looking_clients: 0,
            demand: Cell::default(),
            quota: None,
            consumption: Consumption::default(),
        }
    }
}

impl ShareState {
    fn refresh(&mut self, pool: &Amounts, weight: f64) {
        self.share = self.charged.dominant_share_of(pool) / weight;
    }

    fn cmp(&self, other: &ShareState) -> std::cmp::Ordering {
        self.share.total_cmp(&other.share).then(self.count.cmp(&other.count))
    }
}

impl Shares {
    pub(super) fn change_pool(&mut self, added: Amounts, removed: Amounts) {
        self.pool.add(added);
        self.pool.subtract(removed);
        self.stale = true;
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: f64) {
        self.weights.insert(role.as_str().into(), weight);
        let mut components = role.as_str().split('/');
        let node = components.try_fold(ROOT, |node, name| self.node(node).by_name.get(name).copied());
        if let Some(node) = node {
            self.node_mut(node).weight = weight;
            self.node(self.node(node).parent).demand.set(None);
            self.stale = true;
        }
    }

    pub(super) fn add_client(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        capabilities: Capabilities,
    ) -> u32 {
        let leaf = self.leaf_of(role);
        let path = self.path_of(leaf);
        self.generation += 1;
        let client = slot_of(self.clients.insert(Client {
            framework: framework.clone(),
            role: role.clone(),
            capabilities,
            preferences: ClientPreferences::default(),
            active: false,
            generation: self.generation,
            filters: 0,
            answers: Answers::default(),
            path,
            share_state: ShareState::default(),
            allocated: Default::default(),
        }));
        self.node_mut(leaf).children.push(client);
        self.place_client(client, self.node(leaf).children.len() - 1);
        client
    }

    pub(super) fn remove_client(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot as usize) else { return };
        let (leaf, charged) = (client.leaf(), client.share_state.charged);
        self.forget_answers(slot);
        self.set_active(slot, false);
        self.set_preferences(slot, ClientPreferences::default());
        self.change_above(leaf, &[], -1, |share_state| share_state.charged.subtract(charged));
        self.clients.remove(slot as usize);
        self.node_mut(leaf).children.retain(|&c| c != slot);
        self.node(leaf).demand.set(None);
        self.prune(leaf);
    }

    pub(super) fn set_active(&mut self, slot: u32, active: bool) -> bool {
        let Some(client) = self.clients.get_mut(slot as usize).filter(|client| client.active != active)
        else {
            return false;
        };
        client.active = active;
        let looking = u32::from(client.answers.looking);
        self.check_lagging |= active;
        let mut node = client.leaf();
        loop {
            let above = self.node_mut(node);
            if active {
                above.active_clients += 1;
                above.looking_clients += looking;
            } else {
                above.active_clients -= 1;
                above.looking_clients -= looking;
            }
            above.demand.set(None);
            if node == ROOT {
                return true;
            }
            node = above.parent;
        }
    }

    pub(super) fn set_capabilities(&mut self, slot: u32, capabilities: Capabilities) -> bool {
        match self.clients.get_mut(slot as usize) {
            Some(client) if client.capabilities != capabilities => {
                client.capabilities = capabilities;
                true
            }
            _ => false,
        }
    }

    /// Returns whether offers may change.
    pub(super) fn set_preferences(&mut self, slot: u32, preferences: ClientPreferences) -> bool {
        let Some(client) = self.clients.get_mut(slot as usize) else { return false };
        let before = std::mem::replace(&mut client.preferences, preferences);
        self.own_minimums -= u32::from(before.has_min_allocatable());
        self.own_minimums += u32::from(client.preferences.has_min_allocatable());
        before.is_restricted() || client.preferences.is_restricted()
    }

    /// Whether some client accepts offers below the default minimum.
    pub(super) fn accepts_small_offers(&self) -> bool {
        self.own_minimums > 0
    }

    /// Voids the client's filters.
    pub(super) fn clear_filters(&mut self, slot: u32) -> bool {
        let Some(client) = self.clients.get_mut(slot as usize) else { return false };
        self.generation += 1;
        (client.generation, client.filters) = (self.generation, 0);
        true
    }

    /// The client has one more filter.
    pub(super) fn filter_added(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot as usize) {
            client.filters += 1;
        }
    }

    /// A filter is gone. It counts no more if it was voided before.
    pub(super) fn filter_gone(&mut self, owner: FilterOwner) {
        let client = self.clients.get_mut(owner.client as usize);
        if let Some(client) = client.filter(|client| client.generation == owner.generation) {
            client.filters -= 1;
        }
    }

    pub(super) fn generation(&self, slot: u32) -> Option<u64> {
        self.clients.get(slot as usize).map(|c| c.generation)
    }

    /// The number of active clients that are [looking](Shares::is_looking).
    pub(super) fn looking_clients(&self) -> u32 {
        self.node(ROOT).looking_clients
    }

    /// The number of active clients.
    pub(super) fn active_clients(&self) -> u32 {
        self.node(ROOT).active_clients
    }

    pub(super) fn client(&self, slot: u32) -> Option<&Client> {
        self.clients.get(slot as usize)
    }

    /// The resources with the client's role as their allocation role.
    pub(super) fn allocated_to(&mut self, slot: u32, resources: &Resources) -> Resources {
        let Some(client) = self.clients.get_mut(slot as usize) else { return Resources::new() };
        if client.allocated.0 != *resources {
            client.allocated = (resources.clone(), resources.allocated_to(&client.role));
        }
        client.allocated.1.clone()
    }

    pub(super) fn dominant_share(&self, slot: u32) -> f64 {
        self.clients.get(slot as usize).map_or(0.0, |c| c.share_state.charged.dominant_share_of(&self.pool))
    }

    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.clients.get(slot as usize).is_none_or(|c| c.share_state.charged == Amounts::default())
    }

    /// Charges amounts; `counted` are those of them that a quota counts.
    pub(super) fn charge(&mut self, slot: u32, amounts: Amounts, counted: &[(usize, i64)]) {
        self.change(slot, counted, 1, |share_state| {
            share_state.charged.add(amounts);
            share_state.count += 1;
        });
    }

    pub(super) fn discharge(&mut self, slot: u32, amounts: Amounts, counted: &[(usize, i64)]) {
        self.change(slot, counted, -1, |share_state| share_state.charged.subtract(amounts));
    }

    fn is_active(&self, client: u32) -> bool {
        self.clients.get(client as usize).is_some_and(|client| client.active)
    }

    fn node(&self, slot: u32) -> &Node {
        self.nodes.get(slot as usize).expect("invariant: nodes of the tree exist")
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node {
        self.nodes.get_mut(slot as usize).expect("invariant: nodes of the tree exist")
    }

    fn leaf_of(&mut self, role: &Role) -> u32 {
        let parent = self.node_of(role);
        // No role has a component of this name.
        match self.node(parent).by_name.get(".") {
            Some(&known) => known,
            None => self.add_node(Node::new(".", parent, 1.0, true)),
        }
    }

    fn node_of(&mut self, role: &Role) -> u32 {
        let mut parent = ROOT;
        for (path, name) in role.lineage().zip(role.as_str().split('/')) {
            parent = match self.node(parent).by_name.get(name) {
                Some(&known) => known,
                None => {
                    let weight = self.weights.get(path).copied().unwrap_or(1.0);
                    self.add_node(Node::new(name, parent, weight, false))
                }
            };
        }
        parent
    }

    fn add_node(&mut self, node: Node) -> u32 {
        let (name, parent) = (node.name.clone(), node.parent);
        let slot = slot_of(self.nodes.insert(node));
        let above = self.node_mut(parent);
        above.by_name.insert(name, slot);
        above.children.push(slot);
        above.demand.set(None);
        let last = above.children.len() - 1;
        self.place_node(slot, last);
        slot
    }

    /// The nodes from a leaf to the root.
    fn path_of(&self, leaf: u32) -> Arc<[u32]> {
        let mut path = vec![leaf];
        while let Some(&node) = path.last().filter(|&&node| node != ROOT) {
            path.push(self.node(node).parent);
        }
        path.into()
    }

    fn change(&mut self, slot: u32, counted: &[(usize, i64)], sign: i64, apply: impl Fn(&mut ShareState)) {
        let pool = self.pool;
        let from = (!self.stale).then(|| self.position_of_client(slot)).flatten();
        let Some(client) = self.clients.get_mut(slot as usize) else { return };
        apply(&mut client.share_state);
        client.share_state.refresh(&pool, 1.0);
        let (leaf, active) = (client.leaf(), client.active);
        if !active {
            self.node(leaf).demand.set(None);
        }
        match from {
            Some(from) => self.place_client(slot, from),
            None => self.stale = true,
        }
        self.change_above(leaf, counted, sign, apply);
    }

    fn change_above(
        &mut self,
        leaf: u32,
        counted: &[(usize, i64)],
        sign: i64,
        apply: impl Fn(&mut ShareState),
    ) {
        let pool = self.pool;
        let mut slot = leaf;
        while slot != ROOT {
            let from = (!self.stale).then(|| self.position_of_node(slot)).flatten();
            let node = self.node_mut(slot);
            apply(&mut node.share_state);
            node.consumption.count(counted, sign);
            let weight = node.weight;
            node.share_state.refresh(&pool, weight);
            let (parent, idle) = (node.parent, node.active_clients == 0);
            if idle {
                self.node(parent).demand.set(None);
            }
            match from {
                Some(from) => self.place_node(slot, from),
                None => self.stale = true,
            }
            if self.guarantees > 0 {
                self.refresh_required(slot);
            }
            slot = parent;
        }
    }
}
