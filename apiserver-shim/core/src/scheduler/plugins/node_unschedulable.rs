//! Cordoned nodes take no new Pods, except those that tolerate the cordon's taint.

use crate::{
    rows::{Taint, TaintEffect},
    scheduler::{
        Reason,
        framework::{EventSet, Filter, NodeView, Plugin, PodContext, Refusal},
    },
};

/// The `NodeUnschedulable` plugin.
#[derive(Debug)]
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_TAINTS
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        if !node.info.node.unschedulable {
            return Ok(());
        }
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            value: "".into(),
            effect: TaintEffect::NoSchedule,
            added: None,
        };
        match pod.shape().tolerations.iter().any(|toleration| toleration.tolerates(&cordon)) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(Reason::Unschedulable)),
        }
    }
}
