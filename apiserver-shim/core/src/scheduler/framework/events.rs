//! Cluster events that may make a refused Pod schedulable. The plugins that refused a Pod register for them, as
//! upstream.

use std::ops::{BitOr, BitOrAssign};

use crate::scheduler::NodeInfo;

/// A set of event kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventSet(u16);

impl EventSet {
    /// No event.
    pub const NONE: EventSet = EventSet(0);
    /// A Node was added.
    pub const NODE_ADD: EventSet = EventSet(1);
    /// A node's allocatable resources changed.
    pub const NODE_ALLOCATABLE: EventSet = EventSet(1 << 1);
    /// A Node's labels changed.
    pub const NODE_LABELS: EventSet = EventSet(1 << 2);
    /// A Node's taints or `spec.unschedulable` changed.
    pub const NODE_TAINTS: EventSet = EventSet(1 << 3);
    /// A node's ability to run containers changed.
    pub const NODE_RUNTIME: EventSet = EventSet(1 << 4);
    /// The resources that other frameworks hold on a node changed.
    pub const NODE_HELD: EventSet = EventSet(1 << 5);
    /// A Pod left a node, finished, or requests less.
    pub const POD_DELETE: EventSet = EventSet(1 << 6);
    /// A Pod was placed on a node.
    pub const POD_ADD: EventSet = EventSet(1 << 7);
    /// The labels of a Pod on a node changed.
    pub const POD_LABELS: EventSet = EventSet(1 << 8);
    /// The kernel offers resources.
    pub const OFFER: EventSet = EventSet(1 << 9);
    /// A PersistentVolumeClaim, a PersistentVolume or a StorageClass was added, changed or removed.
    pub const VOLUMES: EventSet = EventSet(1 << 10);

    /// Whether the sets have a common event.
    pub fn intersects(self, other: EventSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for EventSet {
    type Output = EventSet;
    fn bitor(self, other: EventSet) -> EventSet {
        EventSet(self.0 | other.0)
    }
}

impl BitOrAssign for EventSet {
    fn bitor_assign(&mut self, other: EventSet) {
        self.0 |= other.0;
    }
}

/// An event that concerns one node, or one claim.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterEvent<'a> {
    /// The kinds of the event.
    pub kinds: EventSet,
    /// The present state of the node; `None` if it has no Node object.
    pub node: Option<&'a NodeInfo>,
    /// The role of an offer.
    pub role: Option<&'a str>,
    /// The name of a PersistentVolumeClaim.
    pub claim: Option<&'a str>,
}

/// A plugin's hint whether an event can help a Pod that it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueingHint {
    /// Retry the Pod.
    Queue,
    /// The event does not help.
    Skip,
}

impl QueueingHint {
    /// `Queue` if `helps`, else `Skip`.
    pub fn queue_if(helps: bool) -> QueueingHint {
        if helps { QueueingHint::Queue } else { QueueingHint::Skip }
    }
}
