//! Two Pods on one node cannot use the same host port.

use crate::scheduler::{
    HostPort, PendingPod, PodShape, Reason,
    framework::{ClusterEvent, EventSet, Filter, NodeView, Plugin, PodContext, QueueingHint, Refusal},
};

/// The `NodePorts` plugin.
#[derive(Debug)]
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::POD_DELETE
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let free = event.node.is_none_or(|node| !conflicts(&pod.pod.shape, node.used_ports.iter()));
        QueueingHint::queue_if(free)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodePorts {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        match conflicts(pod.shape(), node.used_ports()) {
            true => Err(Refusal::resolvable(Reason::HostPorts)),
            false => Ok(()),
        }
    }
}

/// Whether a requested host port is in use.
pub fn conflicts<'a>(shape: &PodShape, mut used: impl Iterator<Item = &'a HostPort>) -> bool {
    !shape.host_ports.is_empty()
        && used.any(|port| shape.host_ports.iter().any(|wanted| port.conflicts_with(wanted)))
}
