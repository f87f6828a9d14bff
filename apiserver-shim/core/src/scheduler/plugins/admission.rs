//! What a node refuses that was chosen by hand (`spec.nodeName`, or a Binding of somebody else's scheduler): no filter kept
//! the Pod away. Upstream it is the kubelet that refuses; the words are its.

use super::{node_affinity, node_ports};
use crate::scheduler::{Amounts, NodeInfo, PendingPod, Reason};

/// Why a node does not take a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
}

/// Whether the node of a bound Pod can never take it beside the Pods that are bound to it, some left `aside`. All of
/// them are counted among those that use the machine. What other frameworks hold is no reason: it may be given back.
pub fn refuse<'a>(
    pod: &'a PendingPod,
    machine: &NodeInfo,
    aside: impl Iterator<Item = &'a PendingPod>,
) -> Option<Refusal> {
    if !machine.node.is_ready() || machine.total.cpu_milli <= 0 {
        // Not to be judged now.
        return None;
    }
    let predicate = |name: &str, reason: Reason| Refusal {
        reason: name.to_owned(),
        message: format!("Predicate {name} failed: {reason}"),
    };
    let lacking = |resource: &str, requested: i64, used: i64, capacity: i64| Refusal {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut alone = machine.clone();
    for other in aside.chain([pod]) {
        alone.used.subtract(&other.shape.charge());
        alone.pods = alone.pods.saturating_sub(1);
        for port in &other.shape.host_ports {
            if let Some(at) = alone.host_ports.iter().position(|p| p == port) {
                alone.host_ports.swap_remove(at);
            }
        }
    }
    if alone.pods >= machine.pods_max {
        return Some(lacking("pods", 1, count(alone.pods), count(machine.pods_max)));
    }
    let charge = pod.shape.charge();
    if let Some(resource) = insufficient(&charge, &alone) {
        let of = |amounts: &Amounts| match resource.as_str() {
            "cpu" => amounts.cpu_milli,
            "memory" => amounts.memory,
            "ephemeral-storage" => amounts.ephemeral,
            other => amounts.other(other),
        };
        return Some(lacking(&resource, of(&charge), of(&alone.used), of(&machine.total)));
    }
    if let Some(reason) = node_affinity::filter(pod, machine) {
        return Some(predicate("NodeAffinity", reason));
    }
    node_ports::filter(pod, &alone, &[]).map(|reason| predicate("NodePorts", reason))
}

/// The first resource of which a Pod asks more than there is beside the others.
fn insufficient(charge: &Amounts, machine: &NodeInfo) -> Option<String> {
    let mut left = machine.total.clone();
    left.subtract(&machine.used);
    left.lacking(charge).first().map(|resource| (*resource).to_owned())
}
