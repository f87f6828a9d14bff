//! Requires that the kernel offers the Pod's role sufficient resources of the node. Upstream has no such rule,
//! because its scheduler owns the nodes.

use crate::scheduler::{
    PendingPod, Reason,
    framework::{ClusterEvent, EventSet, Filter, NodeView, Plugin, PodContext, QueueingHint, Refusal},
    plugins::node_resources_fit,
};

/// The `KernelOffers` plugin.
#[derive(Debug)]
pub struct KernelOffers;

impl Plugin for KernelOffers {
    fn name(&self) -> &'static str {
        "KernelOffers"
    }

    fn events(&self) -> EventSet {
        EventSet::OFFER
            | EventSet::NODE_ADD
            | EventSet::NODE_HELD
            | EventSet::NODE_ALLOCATABLE
            | EventSet::POD_DELETE
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let own_role = event.role.is_none_or(|role| *role == *pod.role);
        let has_room = event.node.is_none_or(|node| node.left().holds(&pod.pod.shape.charge()));
        QueueingHint::queue_if(own_role && has_room)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for KernelOffers {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        if node.offers(pod.charge) && node.leaves_room(pod) {
            return match node.offers_ports(pod) {
                true => Ok(()),
                false => Err(Refusal::resolvable(Reason::NoOffer { role: pod.pod.role.clone() })),
            };
        }
        // The node has enough besides our other Pods, so others hold the resources or they are not offered.
        Err(node_resources_fit::refusal(pod, node)
            .unwrap_or_else(|| Refusal::resolvable(Reason::NoOffer { role: pod.pod.role.clone() })))
    }

    fn concerns_bound_pods(&self) -> bool {
        true
    }
}
