//! Rows: typed views of objects for controllers and the scheduler. A row shares the encoded object and its header with the
//! watch cache and adds the few decoded fields that decisions read, so that 10,000 Pods cost little more than their bytes.
//!
//! Rows are values. The shell decodes each once per version of its object.

mod budget;
mod daemon_set;
mod job;
mod node;
mod pod;
mod revision;
mod selector;
mod service;
mod stateful_set;
mod view;
mod volume;
mod workload;

pub use budget::DisruptionBudget;
pub use daemon_set::DaemonSet;
pub use job::{
    COMPLETION_INDEX, ConcurrencyPolicy, CronJob, EndedContainer, INDEX_FAILURES, INDEX_IGNORED_FAILURES,
    Job, JobPodDetails, SCHEDULED_TIMESTAMP,
};
pub use node::{Node, Taint, TaintEffect};
pub use pod::{Phase, Pod, PodParts, PodPort, is_revocable};
pub use revision::ControllerRevision;
pub use selector::LabelSelector;
pub use service::Service;
pub use stateful_set::StatefulSet;
pub use view::ObjectView;
pub use volume::{
    BIND_COMPLETED, CLASS_ANNOTATION, ClaimReference, PersistentVolume, PersistentVolumeClaim, SELECTED_NODE,
    VolumeTerms, ephemeral_claim,
};
pub use workload::{Deployment, ReplicaSet, ReplicationController, Strategy};

use serde_json::Value;
use shim_model::{
    object::{Header, StoredObject},
    time::Instant,
};

/// Whole seconds since the epoch: the precision of `metav1.Time`.
pub type Seconds = i64;

/// Reads a time as the API prints it.
pub fn seconds(text: &str) -> Option<Seconds> {
    Instant::parse(text).map(Instant::seconds)
}

/// Prints a time as the API does.
pub fn rfc3339(at: Seconds) -> String {
    Instant::from_seconds(at).to_rfc3339()
}

/// Namespace (empty for cluster-wide objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(header: &Header) -> Self {
        Key::new(&header.namespace, &header.name)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Decodes a part of an encoded object; an absent part is `null`.
fn decode_part(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(bytes) }
}

/// Whether the object is controlled by the owner with this UID.
pub fn controlled_by(object: &StoredObject, uid: &str) -> bool {
    object.header.controller().is_some_and(|o| o.uid == uid)
}

/// An owner reference in which `owner` controls the object, as JSON.
pub fn controller_reference(api_version: &str, kind: &str, owner: &Header) -> Value {
    serde_json::json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}
