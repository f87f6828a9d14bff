//! Taints keep Pods away that do not tolerate them.

use crate::{
    rows::TaintEffect,
    scheduler::{NodeInfo, PendingPod, Reason},
};

/// How many taints would rather not have the Pod (`PreferNoSchedule`).
pub fn untolerated_prefer_no_schedule(pod: &PendingPod, machine: &NodeInfo) -> u32 {
    let soft = machine.node.taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
    let untolerated_prefer_no_schedule =
        soft.filter(|taint| !pod.shape.tolerations.iter().any(|t| t.tolerates(taint))).count();
    u32::try_from(untolerated_prefer_no_schedule).unwrap_or(u32::MAX)
}

/// Refuses nodes with a taint that the Pod does not tolerate.
pub fn filter(pod: &PendingPod, machine: &NodeInfo) -> Option<Reason> {
    let taint = machine
        .node
        .taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule)
        .find(|taint| !pod.shape.tolerations.iter().any(|t| t.tolerates(taint)))?;
    Some(Reason::Taint { key: taint.key.clone(), value: taint.value.clone() })
}
