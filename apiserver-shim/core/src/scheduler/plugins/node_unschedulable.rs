//! Cordoned nodes take no new Pods, but for those that tolerate just that.

use crate::{
    rows::{Taint, TaintEffect},
    scheduler::{NodeInfo, PendingPod, Reason},
};

/// Refuses cordoned nodes.
pub fn filter(pod: &PendingPod, machine: &NodeInfo) -> Option<Reason> {
    if !machine.node.unschedulable {
        return None;
    }
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: "".into(),
        effect: TaintEffect::NoSchedule,
        added: None,
    };
    (!pod.shape.tolerations.iter().any(|t| t.tolerates(&cordon))).then_some(Reason::Unschedulable)
}
