//! Where each node's executor can be reached for logs, exec and port-forward. The scheduler runner learns it from
//! task updates and writes it here; the subresource handlers read it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// Node name → `ip:port`. Clones share.
#[derive(Clone, Debug, Default)]
pub struct NodeEndpoints {
    map: Arc<RwLock<BTreeMap<String, String>>>,
}

impl NodeEndpoints {
    /// Learns a node's endpoint; cheap if it is known already.
    pub fn set(&self, node: &str, endpoint: &str) {
        if self.get(node).as_deref() != Some(endpoint) {
            self.write().insert(node.to_owned(), endpoint.to_owned());
        }
    }

    /// Forgets a node.
    pub fn remove(&self, node: &str) {
        self.write().remove(node);
    }

    /// A node's endpoint.
    pub fn get(&self, node: &str) -> Option<String> {
        self.map.read().expect("invariant: no holder of the map panics").get(node).cloned()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, String>> {
        self.map.write().expect("invariant: no holder of the map panics")
    }
}
