//! Two Pods on one node cannot use the same host port, and neither can a Pod and a task of another framework, if the port is
//! part of the agent's resource `ports`.

use crate::scheduler::{
    AgentPorts, HostPort, PendingPod, PodShape, Reason,
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
        EventSet::NODE_ADD | EventSet::NODE_HELD | EventSet::POD_DELETE
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let shape = &pod.pod.shape;
        let free = event.node.is_none_or(|node| {
            !conflicts(shape, node.used_ports.iter()) && !is_taken(shape, &node.ports, node.used_ports.iter())
        });
        QueueingHint::queue_if(free)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodePorts {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        let shape = pod.shape();
        match conflicts(shape, node.used_ports()) || is_taken(shape, &node.info.ports, node.used_ports()) {
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

/// Whether a requested host port is taken from the agent's resource. There a port is one number, whatever its protocol.
fn is_taken<'a>(shape: &PodShape, ports: &AgentPorts, mut used: impl Iterator<Item = &'a HostPort>) -> bool {
    let wanted = ports.of(&shape.host_ports);
    let has = |port: u16| wanted.pairs().iter().any(|(begin, end)| (*begin..=*end).contains(&port.into()));
    !wanted.is_empty() && (ports.are_held(&shape.host_ports) || used.any(|port| has(port.port)))
}
