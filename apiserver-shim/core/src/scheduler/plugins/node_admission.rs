//! Admission by the node, for Pods whose node was not chosen by this scheduler (`spec.nodeName`, or another
//! scheduler's Binding). Upstream's kubelet makes these checks; the texts are its own.

use super::{node_affinity, node_ports};
use crate::rows::Pod;
use crate::scheduler::{Amounts, HostPort, NodeInfo, PendingPod, Reason};

/// Why a node rejects a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AdmissionRefusal {
    pub reason: String,
    /// The last part of `status.message`.
    pub message: String,
}

/// Whether the node of a bound Pod can never run it together with its other Pods, except for those in `aside`.
/// Resources that other frameworks hold are no reason, because they may be released.
pub fn refuse<'a>(
    pod: &'a PendingPod,
    node: &NodeInfo,
    aside: impl Iterator<Item = &'a Pod>,
) -> Option<AdmissionRefusal> {
    if !node.node.is_ready() || node.allocatable.cpu_milli <= 0 {
        // The node cannot be judged now.
        return None;
    }
    let lacking = |resource: &str, requested: i64, used: i64, capacity: i64| AdmissionRefusal {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    let predicate = |name: &str, reason: Reason| AdmissionRefusal {
        reason: name.to_owned(),
        message: format!("Predicate {name} failed: {reason}"),
    };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let others = Others::of(node, aside.chain([&*pod.pod]));
    if others.pods >= node.pods_max {
        return Some(lacking("pods", 1, count(others.pods), count(node.pods_max)));
    }
    let charge = pod.pod.shape.charge();
    let mut left = node.allocatable.clone();
    left.subtract(&others.requested);
    if let Some(resource) = left.lacking(&charge).first() {
        let of = |amounts: &Amounts| match *resource {
            "cpu" => amounts.cpu_milli,
            "memory" => amounts.memory,
            "ephemeral-storage" => amounts.ephemeral,
            other => amounts.other(other),
        };
        return Some(lacking(resource, of(&charge), of(&others.requested), of(&node.allocatable)));
    }
    if !node_affinity::matches(&pod.pod.shape, &node.node) {
        return Some(predicate("NodeAffinity", Reason::NodeSelector));
    }
    node_ports::conflicts(&pod.pod.shape, others.used_ports.iter())
        .then(|| predicate("NodePorts", Reason::HostPorts))
}

/// The resources that a node's Pods use, with some Pods excluded.
struct Others {
    pods: usize,
    requested: Amounts,
    used_ports: Vec<HostPort>,
}

impl Others {
    fn of<'a>(node: &NodeInfo, without: impl Iterator<Item = &'a Pod>) -> Others {
        let mut others = Others {
            pods: node.pods().len(),
            requested: node.requested.clone(),
            used_ports: node.used_ports.clone(),
        };
        for pod in without {
            others.requested.subtract(&pod.charge());
            others.pods = others.pods.saturating_sub(1);
            for port in &pod.shape.host_ports {
                if let Some(at) = others.used_ports.iter().position(|used| used == port) {
                    others.used_ports.swap_remove(at);
                }
            }
        }
        others
    }
}
