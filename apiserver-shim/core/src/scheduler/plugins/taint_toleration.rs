//! Taints keep Pods away that do not tolerate them.

use crate::{
    rows::TaintEffect,
    scheduler::{Machine, PendingPod, Reason},
};

/// Refuses nodes with a taint that the Pod does not tolerate.
pub fn filter(pod: &PendingPod, machine: &Machine) -> Option<Reason> {
    let taint = machine
        .node
        .taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule)
        .find(|taint| !pod.shape.tolerations.iter().any(|t| t.tolerates(taint)))?;
    Some(Reason::Taint { key: taint.key.clone(), value: taint.value.clone() })
}
