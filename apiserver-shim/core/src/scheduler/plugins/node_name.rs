//! A bound Pod fits only on its node.

use crate::scheduler::{
    PendingPod, Reason,
    framework::{EventSet, Filter, NodeSet, NodeView, Plugin, PodContext, PreFilter, Refusal},
};

/// The `NodeName` plugin.
#[derive(Debug)]
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl PreFilter for NodeName {
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal> {
        Ok(pod.bound_to().map_or(NodeSet::All, |node| NodeSet::Named(node.into())))
    }
}

impl Filter for NodeName {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        match pod.pod.bound_to() {
            Some(name) if name != node.info.name() => Err(Refusal::unresolvable(Reason::OtherNode)),
            _ => Ok(()),
        }
    }

    fn concerns_bound_pods(&self) -> bool {
        true
    }
}
