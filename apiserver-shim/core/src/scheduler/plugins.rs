//! The rules, one a file, named as upstream names them. Each says whether a machine is a place for a Pod, and if not, why.
//! `filter` is their order: the first that refuses is the reason that is reported.

pub mod admission;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod runtime;
pub mod taint_toleration;

use super::{NodeInfo, PendingPod, Reason};

/// The rules that do not depend on what is free. Only the name counts for a Pod that is bound already: its node was chosen.
pub fn filter(pod: &PendingPod, machine: &NodeInfo) -> Option<Reason> {
    if pod.bound_to.is_some() {
        return node_name::filter(pod, machine);
    }
    node_unschedulable::filter(pod, machine)
        .or_else(|| runtime::filter(machine))
        .or_else(|| taint_toleration::filter(pod, machine))
        .or_else(|| node_affinity::filter(pod, machine))
}

#[cfg(test)]
#[path = "plugins/tests.rs"]
mod tests;
