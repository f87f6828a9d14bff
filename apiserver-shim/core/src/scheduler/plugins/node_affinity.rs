//! `nodeSelector` and required node affinity.

use crate::{
    rows::Node,
    scheduler::{
        PendingPod, PodShape, Reason,
        framework::{ClusterEvent, EventSet, Filter, NodeView, Plugin, PodContext, QueueingHint, Refusal},
    },
};

/// The `NodeAffinity` plugin.
#[derive(Debug)]
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_LABELS
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        QueueingHint::queue_if(event.node.is_none_or(|node| matches(&pod.pod.shape, &node.node)))
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        match matches(pod.shape(), &node.info.node) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(Reason::NodeSelector)),
        }
    }
}

/// Whether a Node matches the Pod's node selector and affinity.
pub fn matches(shape: &PodShape, node: &Node) -> bool {
    let header = node.header();
    let selected = |(key, value): &(Box<str>, Box<str>)| {
        header.labels.get(&**key).is_some_and(|found| **found == **value)
    };
    shape.node_selector.iter().all(selected)
        && shape.affinity.as_ref().is_none_or(|affinity| affinity.matches(header))
}
