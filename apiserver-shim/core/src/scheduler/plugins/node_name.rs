//! A Pod that is bound goes to its node or nowhere.

use crate::scheduler::{Machine, PendingPod, Reason};

/// Refuses other nodes.
pub fn filter(pod: &PendingPod, machine: &Machine) -> Option<Reason> {
    match &pod.bound_to {
        Some(node) if **node != *machine.node.name() => Some(Reason::OtherNode),
        _ => None,
    }
}
