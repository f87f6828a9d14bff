//! The tree as preemption sees it: who holds what.

use std::collections::BTreeMap;

use kernel_model::roles::Role;

use super::{ROOT, Shares};
use crate::{
    allocator::{ClientSlot, amounts::ResourceNames},
    preemption::{Holder, Holders},
};

impl Shares {
    /// All nodes and clients, and where the clients are.
    pub(in crate::allocator) fn holders(
        &self,
        names: &ResourceNames,
    ) -> (Holders, BTreeMap<ClientSlot, usize>) {
        let mut holders = Holders { total: self.pool.quantities(names), list: Vec::new() };
        let mut clients = BTreeMap::new();
        // Nodes of which the children follow: their position in the list, and their role.
        let mut open: Vec<(u32, Option<usize>, Option<Role>)> = vec![(ROOT, None, None)];
        while let Some((slot, parent, above)) = open.pop() {
            for child in self.node(slot).children.iter().copied() {
                let at = holders.list.len();
                if self.node(slot).is_leaf {
                    let Some(client) = self.clients.get(child as usize) else { continue };
                    let held = client.share_state.charged.quantities(names);
                    holders.list.push(Holder { parent, role: None, weight: 1.0, held });
                    clients.insert(ClientSlot(child), at);
                    continue;
                }
                let node = self.node(child);
                let role = (!node.is_leaf).then(|| role_below(above.as_ref(), &node.name)).flatten();
                let held = node.share_state.charged.quantities(names);
                holders.list.push(Holder { parent, role: role.clone(), weight: node.weight, held });
                open.push((child, Some(at), role));
            }
        }
        (holders, clients)
    }
}

fn role_below(above: Option<&Role>, name: &str) -> Option<Role> {
    let path = above.map_or_else(|| name.to_owned(), |above| format!("{above}/{name}"));
    Role::parse(&path).ok()
}
