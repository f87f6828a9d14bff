//! Requires a container runtime. Upstream's nodes have one or are not ready.

use crate::scheduler::{
    Reason,
    framework::{EventSet, Filter, NodeView, Plugin, PodContext, Refusal},
};

/// The `NodeRuntime` plugin.
#[derive(Debug)]
pub struct NodeRuntime;

impl Plugin for NodeRuntime {
    fn name(&self) -> &'static str {
        "NodeRuntime"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_RUNTIME
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeRuntime {
    fn filter(&self, _pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        match &node.info.lacking {
            Some(lacking) => Err(Refusal::unresolvable(Reason::RuntimeMissing { lacking: lacking.clone() })),
            None => Ok(()),
        }
    }
}
