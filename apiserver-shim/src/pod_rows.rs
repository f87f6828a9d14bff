//! Rows of Pods, decoded once for everybody who runs in this process: the scheduler and the controllers hold the same
//! `Arc`. A change of status alone decodes the status alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use shim_core::rows::{Pod, PodParts};
use shim_core::scheduler::{PodShape, Shapes};
use shim_model::pod_status::PodStatus;

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
        let spec = part(object.bytes(), "spec");
        let spec: Value = spec.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let annotations = part(object.bytes(), "metadata").and_then(|metadata| part(metadata, "annotations"));
        let annotations: Value =
            annotations.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let shape = self.lock().shapes.share(PodShape::decode(&spec));
        let parts = PodParts { annotations: &annotations, spec: &spec, status: &status_of(object) };
        Pod::decode(object.stored().clone(), object.revision, parts, shape)
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
    let mut next = row.clone().with_status(object.stored().clone(), object.revision, &status_of(object));
    next.node = object.field("spec.nodeName").filter(|node| !node.is_empty()).map(Box::from);
    next
}

fn status_of(object: &Object) -> PodStatus {
    part(object.bytes(), "status").map(PodStatus::parse).unwrap_or_default()
}

fn part<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    splice::member(bytes, name).map(|range| &bytes[range])
}
