//! What the controllers' cache needs to know of a typed view: its resource, how to decode it, and what to index it by.

use std::sync::Arc;

use shim_model::object::StoredObject;

use super::LabelSelector;

/// A typed view of an object: the few decoded fields that decisions read. It is decoded once per version of the object
/// and shared by every controller. A resource has one view type.
pub trait ObjectView: Send + Sync + Sized + 'static {
    /// The API group of the resource.
    const GROUP: &'static str;
    /// The plural name of the resource.
    const PLURAL: &'static str;
    /// Whether the objects are indexed by their labels, so that `View::matching` can find them.
    const INDEXED_BY_LABELS: bool = false;

    /// Decodes a stored object.
    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error>;

    /// The stored object.
    fn object(&self) -> &Arc<StoredObject>;

    /// The labels that it selects other objects by; `View::selecting` finds it by them.
    fn selector(&self) -> Option<&LabelSelector> {
        None
    }

    /// The node that it is bound to; `View::on_node` finds it by that.
    fn node(&self) -> Option<&str> {
        None
    }
}
