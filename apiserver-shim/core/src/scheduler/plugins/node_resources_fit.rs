//! Enough of every resource, and room for one more Pod.

use crate::scheduler::{Amounts, NodeInfo, PendingPod, Reason};

/// Whether an offer with `free` left, on a machine that runs `pods`, has room.
pub fn fits(charge: &Amounts, free: &Amounts, pods: usize, pods_max: usize) -> bool {
    pods < pods_max && free.holds(charge)
}

/// Why a machine as a whole has no room, whatever is offered: too small or too full of Pods, or held by others.
pub fn explain(pod: &PendingPod, charge: &Amounts, machine: &NodeInfo) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if machine.pods >= machine.pods_max && pod.bound_to.is_none() {
        reasons.push(Reason::TooManyPods);
    }
    let mut ours = machine.total.clone();
    ours.subtract(&machine.used);
    if pod.bound_to.is_some() {
        // It is counted among those that use the machine.
        ours.add(charge);
    }
    let lacking = ours.lacking(charge);
    let mut left = ours.clone();
    left.subtract(&machine.held.amounts);
    for resource in left.lacking(charge) {
        reasons.push(if lacking.contains(&resource) {
            Reason::Insufficient(resource.into())
        } else {
            Reason::HeldBy { resource: resource.into(), frameworks: machine.held.by.clone() }
        });
    }
    reasons
}
