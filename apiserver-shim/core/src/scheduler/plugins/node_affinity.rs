//! `nodeSelector` and required node affinity.

use crate::scheduler::{NodeInfo, PendingPod, Reason};

/// Refuses nodes that do not match.
pub fn filter(pod: &PendingPod, machine: &NodeInfo) -> Option<Reason> {
    let header = machine.node.header();
    let selected = pod
        .shape
        .node_selector
        .iter()
        .all(|(key, value)| header.labels.get(&**key).is_some_and(|v| **v == **value));
    let fits = selected && pod.shape.affinity.as_ref().is_none_or(|a| a.matches(header));
    (!fits).then_some(Reason::NodeSelector)
}
