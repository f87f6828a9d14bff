//! The order in which pending Pods are tried, and how long one that found nothing rests.

use std::sync::Arc;

use crate::rows::{Key, Seconds};

use super::PodShape;

/// How long a Pod rests after its first failure; doubles with each.
pub const BACKOFF_FIRST: Seconds = 1;
/// The longest rest.
pub const BACKOFF_MAX: Seconds = 10;

/// A Pod that needs a task.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PendingPod {
    pub key: Key,
    pub uid: Box<str>,
    pub shape: Arc<PodShape>,
    /// The role of its namespace.
    pub role: Arc<str>,
    /// Its controller: Pods of one are spread over the nodes.
    pub owner: Option<Arc<str>>,
    /// It is bound to this node already and has no task (yet, or no more): it goes there or nowhere.
    pub bound_to: Option<Box<str>>,
    pub created: Seconds,
}

/// Sorts: the more important first, then the older.
pub fn in_order(pods: &mut [PendingPod]) {
    pods.sort_by(|a, b| (b.shape.priority, a.created, &a.key).cmp(&(a.shape.priority, b.created, &b.key)));
}

/// When a Pod that found no node is tried again without anything having changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retry {
    failures: u32,
}

impl Retry {
    /// Notes a failure; says how long to rest.
    pub fn failed(&mut self) -> Seconds {
        let rest = BACKOFF_FIRST.checked_shl(self.failures).unwrap_or(BACKOFF_MAX);
        self.failures = (self.failures + 1).min(16);
        rest.min(BACKOFF_MAX)
    }
}
