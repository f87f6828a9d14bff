//! Where the Pods of a DaemonSet belong.

use crate::rows::{DaemonSet, Node, TaintEffect};

/// What a node is to a DaemonSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eligibility {
    /// A Pod has to be started.
    pub should_run: bool,
    /// A Pod that is there stays.
    pub should_stay: bool,
}

/// Whether a Pod has to run on a node, or may stay there. Names, labels and taints decide, and not what is free.
pub fn of(set: &DaemonSet, node: &Node) -> Eligibility {
    let none = Eligibility { should_run: false, should_stay: false };
    let labels = &node.header().labels;
    let selected = set.shape.node_selector.iter();
    let mut selected = selected.map(|(key, value)| labels.get(&**key).is_some_and(|own| *own == **value));
    let fits = set.node_name.as_deref().is_none_or(|name| name == node.name())
        && selected.all(|holds| holds)
        && set.shape.affinity.as_ref().is_none_or(|affinity| affinity.matches(node.header()));
    if !fits {
        return none;
    }
    let untolerated = |effect: TaintEffect| {
        let mut taints = node.taints.iter().filter(move |taint| taint.effect == effect);
        taints.any(|taint| !set.shape.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
    };
    if untolerated(TaintEffect::NoExecute) {
        return none;
    }
    Eligibility { should_run: !untolerated(TaintEffect::NoSchedule), should_stay: true }
}
