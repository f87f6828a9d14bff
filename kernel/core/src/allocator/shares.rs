//! The role tree and whose turn it is. Every list of siblings is kept in order: one charge moves one client, and one node
//! on each level above it, to their new places.
//!
//! A role's own clients are a leaf `<role>/.` beside its subroles, so that a role competes with its children as one of
//! them.

use std::collections::BTreeMap;

use kernel_model::{ids::FrameworkId, roles::Role};

use super::{ClientWishes, Handles, amounts::Amounts, slab::Slab};

const ROOT: u32 = 0;

/// A client that holds less than this of its fair part may see a whole agent once it has refused a part of one: its
/// tasks may be larger than what is fair at the moment.
const HUNGRY_BELOW: f64 = 0.5;

/// See [`Shares::room`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// What fits below the fair part.
    pub(super) amounts: Amounts,
    /// Whether the client is far below it.
    pub(super) hungry: bool,
}

#[derive(Debug, Clone)]
struct Node {
    /// The last tie-breaker.
    path: String,
    parent: u32,
    weight: f64,
    standing: Standing,
    /// Nodes of an inner node, clients of a leaf; in order of turns.
    children: Vec<u32>,
    is_leaf: bool,
    /// Active clients below.
    wanting: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) handles: Handles,
    pub(super) wishes: ClientWishes,
    pub(super) active: bool,
    /// Refusals of earlier generations do not stand.
    pub(super) generation: u64,
    /// Allocations that it has not answered.
    pending: i64,
    leaf: u32,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    charged: Amounts,
    /// How many times it was charged.
    count: u64,
    /// The dominant share divided by the weight.
    share: f64,
}

/// All roles and clients, in order of turns.
#[derive(Debug)]
pub(super) struct Shares {
    pool: Amounts,
    nodes: Slab<Node>,
    clients: Slab<Client>,
    by_path: BTreeMap<String, u32>,
    weights: BTreeMap<Role, f64>,
    generation: u64,
    /// Allocations that are not answered.
    pending: i64,
    /// Clients with a rule of their own for how small an offer may be.
    own_least: u32,
    /// The pool or a weight changed: every share is to be computed again.
    stale: bool,
    /// The active clients in order of turns, if nothing has moved since.
    turns: Option<Vec<u32>>,
}

impl Default for Shares {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.insert(Node {
            path: String::new(),
            parent: ROOT,
            weight: 1.0,
            standing: Standing::default(),
            children: Vec::new(),
            is_leaf: false,
            wanting: 0,
        });
        Self {
            pool: Amounts::default(),
            nodes,
            clients: Slab::default(),
            by_path: BTreeMap::new(),
            weights: BTreeMap::new(),
            generation: 0,
            pending: 0,
            own_least: 0,
            stale: false,
            turns: None,
        }
    }
}

impl Standing {
    fn refresh(&mut self, pool: &Amounts, weight: f64) {
        self.share = self.charged.dominant_share_of(pool) / weight;
    }

    fn cmp(&self, other: &Standing) -> std::cmp::Ordering {
        self.share.total_cmp(&other.share).then(self.count.cmp(&other.count))
    }
}

impl Shares {
    pub(super) fn change_pool(&mut self, added: Amounts, removed: Amounts) {
        self.pool.add(added);
        self.pool.subtract(removed);
        self.stale = true;
        self.turns = None;
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: f64) {
        self.weights.insert(role.clone(), weight);
        if let Some(&node) = self.by_path.get(role.as_str()) {
            self.node_mut(node).weight = weight;
            self.stale = true;
            self.turns = None;
        }
    }

    pub(super) fn add_client(&mut self, framework: &FrameworkId, role: &Role, handles: Handles) -> u32 {
        let leaf = self.leaf_of(role);
        self.generation += 1;
        let client = self.clients.insert(Client {
            framework: framework.clone(),
            role: role.clone(),
            handles,
            wishes: ClientWishes::default(),
            active: false,
            generation: self.generation,
            pending: 0,
            leaf,
            standing: Standing::default(),
        });
        self.node_mut(leaf).children.push(client);
        self.place_client(client);
        client
    }

    pub(super) fn remove_client(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot) else { return };
        let (leaf, charged) = (client.leaf, client.standing.charged);
        self.pending -= client.pending;
        self.set_active(slot, false);
        self.set_wishes(slot, ClientWishes::default());
        self.change_above(leaf, |standing| standing.charged.subtract(charged));
        self.clients.remove(slot);
        self.turns = None;
        let mut node = leaf;
        self.node_mut(leaf).children.retain(|&c| c != slot);
        // Roles without clients below them are forgotten; their weights are not.
        while node != ROOT && self.node(node).children.is_empty() {
            let removed = self.nodes.remove(node).expect("invariant: nodes of the tree exist");
            self.by_path.remove(&removed.path);
            self.node_mut(removed.parent).children.retain(|&c| c != node);
            node = removed.parent;
        }
    }

    pub(super) fn set_active(&mut self, slot: u32, active: bool) -> bool {
        let Some(client) = self.clients.get_mut(slot).filter(|client| client.active != active) else {
            return false;
        };
        client.active = active;
        let mut node = client.leaf;
        self.turns = None;
        loop {
            let above = self.node_mut(node);
            above.wanting = if active { above.wanting + 1 } else { above.wanting - 1 };
            if node == ROOT {
                return true;
            }
            node = above.parent;
        }
    }

    /// What the client may still get before it, or a role above it, has more than its fair part of any resource: its
    /// weight's part, among the siblings that want something, of what the others do not hold.
    pub(super) fn room(&self, slot: u32) -> Room {
        let Some(client) = self.clients.get(slot) else { return Room::default() };
        let mut path = vec![client.leaf];
        while let Some(&node) = path.last().filter(|&&node| node != ROOT) {
            path.push(self.node(node).parent);
        }
        let mut part = self.pool;
        let mut room = self.pool;
        for pair in path.windows(2).rev() {
            let (below, above) = (self.node(pair[0]), self.node(pair[1]));
            let mut weights = 0.0;
            for child in above.children.iter().map(|&child| self.node(child)) {
                match child.wanting {
                    0 => part.subtract(child.standing.charged),
                    _ => weights += child.weight,
                }
            }
            part = part.scaled(below.weight / weights.max(below.weight));
            room = room.least(part.without(below.standing.charged));
        }
        let leaf = self.node(client.leaf);
        for sibling in leaf.children.iter().filter_map(|&c| self.clients.get(c)).filter(|c| !c.active) {
            part.subtract(sibling.standing.charged);
        }
        part = part.scaled(1.0 / f64::from(leaf.wanting.max(1)));
        let held = client.standing.charged;
        let hungry = held.dominant_share_of(&part) < HUNGRY_BELOW;
        Room { amounts: room.least(part.without(held)), hungry }
    }

    pub(super) fn set_handles(&mut self, slot: u32, handles: Handles) -> bool {
        match self.clients.get_mut(slot) {
            Some(client) if client.handles != handles => {
                client.handles = handles;
                true
            }
            _ => false,
        }
    }

    /// Whether anything may differ now.
    pub(super) fn set_wishes(&mut self, slot: u32, wishes: ClientWishes) -> bool {
        let Some(client) = self.clients.get_mut(slot) else { return false };
        let before = std::mem::replace(&mut client.wishes, wishes);
        self.own_least -= u32::from(before.has_own_least());
        self.own_least += u32::from(client.wishes.has_own_least());
        before.is_any() || client.wishes.is_any()
    }

    /// Whether some client may want offers that are smaller than usual.
    pub(super) fn takes_small_offers(&self) -> bool {
        self.own_least > 0
    }

    /// Ends the client's refusals.
    pub(super) fn renew(&mut self, slot: u32) -> bool {
        let Some(client) = self.clients.get_mut(slot) else { return false };
        self.generation += 1;
        client.generation = self.generation;
        true
    }

    pub(super) fn generation(&self, slot: u32) -> Option<u64> {
        self.clients.get(slot).map(|c| c.generation)
    }

    pub(super) fn change_pending(&mut self, slot: u32, by: i64) {
        if let Some(client) = self.clients.get_mut(slot) {
            client.pending += by;
            self.pending += by;
        }
    }

    /// Allocations that clients other than this one have not answered.
    pub(super) fn others_pending(&self, slot: u32) -> i64 {
        self.pending - self.clients.get(slot).map_or(0, |c| c.pending)
    }

    /// How many clients want something.
    pub(super) fn wanting(&self) -> u32 {
        self.node(ROOT).wanting
    }

    pub(super) fn client(&self, slot: u32) -> Option<&Client> {
        self.clients.get(slot)
    }

    pub(super) fn dominant_share(&self, slot: u32) -> f64 {
        self.clients.get(slot).map_or(0.0, |c| c.standing.charged.dominant_share_of(&self.pool))
    }

    pub(super) fn is_idle(&self, slot: u32) -> bool {
        self.clients.get(slot).is_none_or(|c| c.standing.charged == Amounts::default())
    }

    pub(super) fn charge(&mut self, slot: u32, amounts: Amounts) {
        self.change(slot, |standing| {
            standing.charged.add(amounts);
            standing.count += 1;
        });
    }

    pub(super) fn discharge(&mut self, slot: u32, amounts: Amounts) {
        self.change(slot, |standing| standing.charged.subtract(amounts));
    }

    /// Active clients in order of turns. To be given back with [`Shares::return_turns`] so that it need not be listed again
    /// if nothing moved.
    pub(super) fn take_turns(&mut self) -> Vec<u32> {
        if self.stale {
            self.refresh_all();
        }
        if let Some(turns) = self.turns.take() {
            return turns;
        }
        let mut turns = Vec::new();
        self.list(ROOT, &mut turns);
        turns
    }

    pub(super) fn return_turns(&mut self, turns: Vec<u32>) {
        self.turns = Some(turns);
    }

    fn list(&self, node: u32, turns: &mut Vec<u32>) {
        let node = self.node(node);
        if node.is_leaf {
            turns.extend(node.children.iter().filter(|&&c| self.clients.get(c).is_some_and(|c| c.active)));
        } else {
            node.children.iter().for_each(|&child| self.list(child, turns));
        }
    }

    fn node(&self, slot: u32) -> &Node {
        self.nodes.get(slot).expect("invariant: nodes of the tree exist")
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node {
        self.nodes.get_mut(slot).expect("invariant: nodes of the tree exist")
    }

    fn leaf_of(&mut self, role: &Role) -> u32 {
        let mut parent = ROOT;
        let mut end = 0;
        let text = role.as_str();
        while end < text.len() {
            end = text[end + 1..].find('/').map_or(text.len(), |at| end + 1 + at);
            parent = self.child(parent, text[..end].to_owned(), false);
        }
        self.child(parent, format!("{text}/."), true)
    }

    fn child(&mut self, parent: u32, path: String, is_leaf: bool) -> u32 {
        if let Some(&node) = self.by_path.get(&path) {
            return node;
        }
        let weight = match Role::parse(&path) {
            Ok(role) if !is_leaf => self.weights.get(&role).copied().unwrap_or(1.0),
            _ => 1.0,
        };
        let node = self.nodes.insert(Node {
            path: path.clone(),
            parent,
            weight,
            standing: Standing::default(),
            children: Vec::new(),
            is_leaf,
            wanting: 0,
        });
        self.by_path.insert(path, node);
        self.node_mut(parent).children.push(node);
        self.place_node(node);
        node
    }

    fn change(&mut self, slot: u32, apply: impl Fn(&mut Standing)) {
        let pool = self.pool;
        let Some(client) = self.clients.get_mut(slot) else { return };
        apply(&mut client.standing);
        client.standing.refresh(&pool, 1.0);
        let leaf = client.leaf;
        self.turns = None;
        if !self.stale {
            self.place_client(slot);
        }
        self.change_above(leaf, apply);
    }

    fn change_above(&mut self, leaf: u32, apply: impl Fn(&mut Standing)) {
        let pool = self.pool;
        let stale = self.stale;
        let mut slot = leaf;
        while slot != ROOT {
            let node = self.node_mut(slot);
            apply(&mut node.standing);
            let weight = node.weight;
            node.standing.refresh(&pool, weight);
            let parent = node.parent;
            if !stale {
                self.place_node(slot);
            }
            slot = parent;
        }
    }

    fn place_client(&mut self, slot: u32) {
        let leaf = self.clients.get(slot).expect("invariant: placed clients exist").leaf;
        let mut order = std::mem::take(&mut self.node_mut(leaf).children);
        place(&mut order, slot, |a, b| self.cmp_clients(a, b));
        self.node_mut(leaf).children = order;
        self.turns = None;
    }

    fn place_node(&mut self, slot: u32) {
        let parent = self.node(slot).parent;
        let mut order = std::mem::take(&mut self.node_mut(parent).children);
        place(&mut order, slot, |a, b| self.cmp_nodes(a, b));
        self.node_mut(parent).children = order;
        self.turns = None;
    }

    fn cmp_clients(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let get = |slot| self.clients.get(slot).expect("invariant: clients of leaves exist");
        let (a, b) = (get(a), get(b));
        a.standing.cmp(&b.standing).then_with(|| a.framework.cmp(&b.framework))
    }

    fn cmp_nodes(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let (a, b) = (self.node(a), self.node(b));
        a.standing.cmp(&b.standing).then_with(|| a.path.cmp(&b.path))
    }

    fn refresh_all(&mut self) {
        let pool = self.pool;
        for (_, client) in self.clients.iter_mut() {
            client.standing.refresh(&pool, 1.0);
        }
        for (_, node) in self.nodes.iter_mut() {
            let weight = node.weight;
            node.standing.refresh(&pool, weight);
        }
        let slots: Vec<u32> = self.nodes.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let mut order = std::mem::take(&mut self.node_mut(slot).children);
            if self.node(slot).is_leaf {
                order.sort_unstable_by(|&a, &b| self.cmp_clients(a, b));
            } else {
                order.sort_unstable_by(|&a, &b| self.cmp_nodes(a, b));
            }
            self.node_mut(slot).children = order;
        }
        self.stale = false;
        self.turns = None;
    }
}

/// Moves one member of an otherwise ordered list to its place.
fn place(order: &mut Vec<u32>, slot: u32, cmp: impl Fn(u32, u32) -> std::cmp::Ordering) {
    let from = order.iter().position(|&s| s == slot).expect("invariant: members are listed");
    order.remove(from);
    let to = order.partition_point(|&other| cmp(other, slot).is_lt());
    order.insert(to, slot);
}
