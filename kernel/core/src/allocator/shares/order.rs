//! The order of clients: lists of siblings that stay sorted, and a cursor over the tree.

use std::cmp::Ordering;

use super::{ROOT, Shares};

/// A position in the order of active clients. It is valid until a share changes.
#[derive(Debug, Default)]
pub(in crate::allocator) struct OrderCursor {
    /// The nodes from the root down, each with the position of its next child. A stack instead of recursion: roles are up to
    /// two thousand levels deep.
    open: Vec<(u32, usize)>,
}

impl Shares {
    /// Puts the cursor before the first client.
    pub(in crate::allocator) fn rewind(&mut self, cursor: &mut OrderCursor) {
        if self.stale {
            self.refresh_all();
        }
        cursor.open.clear();
        cursor.open.push((ROOT, 0));
    }

    /// The next active client in order of shares; with `skips_looking`, the next that is not looking.
    pub(in crate::allocator) fn next_in_order(
        &self,
        cursor: &mut OrderCursor,
        skips_looking: bool,
    ) -> Option<u32> {
        while let Some((slot, next)) = cursor.open.last_mut() {
            let node = self.node(*slot);
            let Some(&child) = node.children.get(*next) else {
                cursor.open.pop();
                continue;
            };
            *next += 1;
            if node.is_leaf {
                if self.is_active(child) && !(skips_looking && self.is_looking(child)) {
                    return Some(child);
                }
                continue;
            }
            let below = self.node(child);
            let skipped = if skips_looking { below.looking_clients } else { 0 };
            if below.active_clients > skipped {
                cursor.open.push((child, 0));
            }
        }
        None
    }

    /// The client's position among those of its leaf, all of which are in order.
    pub(super) fn position_of_client(&self, slot: u32) -> Option<usize> {
        let order = &self.node(self.clients.get(slot as usize)?.leaf()).children;
        let at = order.partition_point(|&other| self.cmp_clients(other, slot).is_lt());
        (order.get(at) == Some(&slot)).then_some(at)
    }

    /// The node's position among its siblings, all of which are in order.
    pub(super) fn position_of_node(&self, slot: u32) -> Option<usize> {
        let order = &self.node(self.node(slot).parent).children;
        let at = order.partition_point(|&other| self.cmp_nodes(other, slot).is_lt());
        (order.get(at) == Some(&slot)).then_some(at)
    }

    /// Moves a client whose share has changed from this position to its place.
    pub(super) fn place_client(&mut self, slot: u32, from: usize) {
        let leaf = self.clients.get(slot as usize).expect("invariant: placed clients exist").leaf();
        let mut order = std::mem::take(&mut self.node_mut(leaf).children);
        place(&mut order, from, |a, b| self.cmp_clients(a, b));
        self.node_mut(leaf).children = order;
    }

    /// Moves a node whose share has changed from this position to its place.
    pub(super) fn place_node(&mut self, slot: u32, from: usize) {
        let parent = self.node(slot).parent;
        let mut order = std::mem::take(&mut self.node_mut(parent).children);
        place(&mut order, from, |a, b| self.cmp_nodes(a, b));
        self.node_mut(parent).children = order;
    }

    fn cmp_clients(&self, a: u32, b: u32) -> Ordering {
        let get = |slot| self.clients.get(slot as usize).expect("invariant: clients of leaves exist");
        let (a, b) = (get(a), get(b));
        a.share_state.cmp(&b.share_state).then_with(|| a.framework.cmp(&b.framework))
    }

    fn cmp_nodes(&self, a: u32, b: u32) -> Ordering {
        let (a, b) = (self.node(a), self.node(b));
        a.share_state.cmp(&b.share_state).then_with(|| a.name.cmp(&b.name))
    }

    /// Recomputes all shares and sorts all siblings.
    fn refresh_all(&mut self) {
        let pool = self.pool;
        for (_, client) in self.clients.iter_mut() {
            client.share_state.refresh(&pool, 1.0);
        }
        for (_, node) in self.nodes.iter_mut() {
            let weight = node.weight;
            node.share_state.refresh(&pool, weight);
        }
        let slots: Vec<u32> = self.nodes.iter().map(|(slot, _)| super::slot_of(slot)).collect();
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
    }
}

/// Moves the member at `from` of an otherwise sorted list to its place.
fn place(order: &mut [u32], from: usize, cmp: impl Fn(u32, u32) -> Ordering) {
    let slot = order[from];
    let before = order[..from].partition_point(|&other| cmp(other, slot).is_lt());
    if before < from {
        order[before..=from].rotate_right(1);
        return;
    }
    let after = from + order[from + 1..].partition_point(|&other| cmp(other, slot).is_lt());
    order[from..=after].rotate_left(1);
}
