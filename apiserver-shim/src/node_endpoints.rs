//! The addresses of the nodes' executors for logs, exec and port-forward. The scheduler driver learns them from task
//! status updates; the subresource handlers read them.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// Maps node names to `ip:port`. Clones share.
#[derive(Clone, Debug, Default)]
pub struct NodeEndpoints {
    map: Arc<RwLock<BTreeMap<String, String>>>,
}

impl NodeEndpoints {
    /// Sets a node's endpoint; cheap if it is unchanged.
    pub fn set(&self, node: &str, endpoint: &str) {
        if self.get(node).as_deref() != Some(endpoint) {
            self.write().insert(node.to_owned(), endpoint.to_owned());
        }
    }

    /// Removes a node.
    pub fn remove(&self, node: &str) {
        self.write().remove(node);
    }

    /// A node's endpoint.
    pub fn get(&self, node: &str) -> Option<String> {
        self.map.read().expect("invariant: no holder of the lock panics").get(node).cloned()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, String>> {
        self.map.write().expect("invariant: no holder of the lock panics")
    }
}
