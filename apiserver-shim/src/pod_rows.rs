//! Rows of Pods, decoded once for everybody who runs in this process: the scheduler and the controllers hold the same
//! `Arc`. A change of status alone decodes the status alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use shim_core::rows::Pod;
use shim_core::scheduler::{PodShape, Shapes};

use crate::object::Object;
use crate::splice;

/// The decoder and what it has decoded. Clones share.
#[derive(Clone, Debug, Default)]
pub struct PodRows {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest row of each Pod that was decoded, by UID.
    rows: BTreeMap<Box<str>, Arc<Pod>>,
    shapes: Shapes,
}

impl PodRows {
    /// The row of an object.
    pub fn of(&self, object: &Object) -> Arc<Pod> {
        let uid = object.header().uid.as_str();
        let known = self.lock().rows.get(uid).cloned();
        match known {
            Some(row) if row.revision == object.revision => row,
            Some(row) if same_spec(&row, object) => self.keep(again(&row, object)),
            _ => self.keep(self.decode(object)),
        }
    }

    /// Forgets a Pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().rows.remove(uid);
    }

    fn decode(&self, object: &Object) -> Pod {
        let value: Value = serde_json::from_slice(object.bytes()).unwrap_or_default();
        let shape = self.lock().shapes.share(PodShape::decode(&value["spec"]));
        Pod::decode(object.stored().clone(), object.revision, &value, shape)
    }

    fn keep(&self, row: Pod) -> Arc<Pod> {
        let row = Arc::new(row);
        let mut state = self.lock();
        match state.rows.get_mut(row.uid()) {
            Some(newer) if newer.revision > row.revision => {}
            Some(older) => *older = row.clone(),
            None => {
                state.rows.insert(row.uid().into(), row.clone());
            }
        }
        row
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: no holder of the rows panics")
    }
}

/// Whether at most the header, the binding and the status differ: every other change of a spec moves the generation.
fn same_spec(row: &Pod, object: &Object) -> bool {
    row.header().generation == object.header().generation && object.header().generation > 0
}

fn again(row: &Pod, object: &Object) -> Pod {
    let status = splice::member(object.bytes(), "status").map(|range| &object.bytes()[range]);
    let status: Value = status.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let mut next = row.clone().with_status(object.stored().clone(), object.revision, &status);
    next.node = object.field("spec.nodeName").filter(|node| !node.is_empty()).map(Box::from);
    next
}
