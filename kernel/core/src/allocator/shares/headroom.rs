//! How much more a client can get before it exceeds its fair share.

use super::{Node, Shares};
use crate::allocator::amounts::Amounts;

/// A client that holds less than this fraction of its fair share may be offered a whole agent once it declined a part:
/// its tasks may be larger than its current fair share.
const FAR_BELOW_FAIR_SHARE: f64 = 0.5;

/// See [`Shares::headroom`].
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::allocator) struct Headroom {
    /// What the client can get up to its fair share.
    pub(in crate::allocator) amounts: Amounts,
    /// Its fair share.
    pub(in crate::allocator) share: Amounts,
    /// Whether the client holds less than [`FAR_BELOW_FAIR_SHARE`] of its fair share.
    pub(in crate::allocator) below_fair_share: bool,
    /// Whether the client holds more than its fair share.
    pub(in crate::allocator) above_fair_share: bool,
}

/// The children of a node, as one of them sees the others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    /// The sum of the weights of children with active clients.
    weights: f64,
    /// What children without active clients hold.
    idle: Amounts,
}

impl Demand {
    /// As if this child had an active client.
    fn with(mut self, child: &Node) -> Self {
        if child.active_clients == 0 {
            self.idle.subtract(child.share_state.charged);
            self.weights += child.weight;
        }
        self
    }
}

impl Shares {
    /// What the client can get before it, or an ancestor role, exceeds its fair share of any resource. The fair share
    /// is the weight's part, among the siblings with active clients, of what the other siblings do not hold. That of a client
    /// that is not active is what it would be if it were.
    pub(in crate::allocator) fn headroom(&self, slot: u32) -> Headroom {
        let Some(client) = self.clients.get(slot as usize) else { return Headroom::default() };
        let mut part = self.pool;
        let mut headroom = self.pool;
        for pair in client.path.windows(2).rev() {
            let (below, above) = (self.node(pair[0]), pair[1]);
            let demand = self.demand_below(above).with(below);
            part.subtract(demand.idle);
            part = part.scaled(below.weight / demand.weights.max(below.weight));
            headroom = headroom.least(part.without(below.share_state.charged));
        }
        let leaf = self.node(client.leaf());
        let leftovers = client.share_state.charged;
        part.subtract(self.demand_below(client.leaf()).idle);
        if !client.active {
            part.add(leftovers);
        }
        let active = leaf.active_clients + u32::from(!client.active);
        part = part.scaled(1.0 / f64::from(active));
        let share = leftovers.dominant_share_of(&part);
        Headroom {
            amounts: headroom.least(part.without(leftovers)),
            share: part,
            below_fair_share: share < FAR_BELOW_FAIR_SHARE,
            above_fair_share: share > 1.0,
        }
    }

    fn demand_below(&self, slot: u32) -> Demand {
        let node = self.node(slot);
        if let Some(demand) = node.demand.get() {
            return demand;
        }
        let mut demand = Demand::default();
        if node.is_leaf {
            let clients = node.children.iter().filter_map(|&c| self.clients.get(c as usize));
            clients.filter(|c| !c.active).for_each(|c| demand.idle.add(c.share_state.charged));
        } else {
            for child in node.children.iter().map(|&child| self.node(child)) {
                match child.active_clients {
                    0 => demand.idle.add(child.share_state.charged),
                    _ => demand.weights += child.weight,
                }
            }
        }
        node.demand.set(Some(demand));
        demand
    }
}
