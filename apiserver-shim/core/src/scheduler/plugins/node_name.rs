//! A Pod that is bound goes to its node or nowhere.

use crate::scheduler::{NodeInfo, PendingPod, Reason};

/// Refuses other nodes.
pub fn filter(pod: &PendingPod, machine: &NodeInfo) -> Option<Reason> {
    match &pod.bound_to {
        Some(node) if **node != *machine.node.name() => Some(Reason::OtherNode),
        _ => None,
    }
}
