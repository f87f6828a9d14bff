//! What happens in the cluster, as far as it can make a refused Pod fit. Upstream calls these cluster events; the plugins
//! that refused a Pod register for them.

use std::ops::{BitOr, BitOrAssign};

use crate::scheduler::NodeInfo;

/// A set of kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventSet(u16);

impl EventSet {
    /// No event.
    pub const NONE: EventSet = EventSet(0);
    /// A Node is new.
    pub const NODE_ADD: EventSet = EventSet(1);
    /// What a node has for Pods has changed.
    pub const NODE_ALLOCATABLE: EventSet = EventSet(1 << 1);
    /// A Node's labels have changed.
    pub const NODE_LABELS: EventSet = EventSet(1 << 2);
    /// A Node's taints have changed, or whether it is cordoned.
    pub const NODE_TAINTS: EventSet = EventSet(1 << 3);
    /// Whether a node can run containers has changed.
    pub const NODE_RUNTIME: EventSet = EventSet(1 << 4);
    /// What other frameworks hold of a node has changed.
    pub const NODE_HELD: EventSet = EventSet(1 << 5);
    /// A Pod has left a node, has ended, or requests less.
    pub const POD_DELETE: EventSet = EventSet(1 << 6);
    /// A Pod was put on a node.
    pub const POD_ADD: EventSet = EventSet(1 << 7);
    /// The labels of a Pod on a node have changed.
    pub const POD_LABELS: EventSet = EventSet(1 << 8);
    /// The kernel offers resources.
    pub const OFFER: EventSet = EventSet(1 << 9);

    /// Whether an event is in both.
    pub fn intersects(self, other: EventSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
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

/// Something has happened to one node.
#[derive(Debug, Clone, Copy)]
pub struct ClusterEvent<'a> {
    /// What.
    pub kinds: EventSet,
    /// The node as it is now; absent while the Node object is.
    pub node: Option<&'a NodeInfo>,
    /// The role that an offer is in.
    pub role: Option<&'a str>,
}

/// What a plugin makes of an event for a Pod that it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueingHint {
    /// Try the Pod again.
    Queue,
    /// The event does not help it.
    Skip,
}

impl QueueingHint {
    /// `Queue` if `helps`.
    pub fn queue_if(helps: bool) -> QueueingHint {
        if helps { QueueingHint::Queue } else { QueueingHint::Skip }
    }
}
