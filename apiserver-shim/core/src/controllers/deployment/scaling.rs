//! Follows a changed size: in the one active ReplicaSet, or in proportion if several are active.

use super::{
    max_surge,
    working::{DESIRED_ANNOTATION, MAX_ANNOTATION, Working},
};
use crate::rows::Strategy;

/// Whether `spec.replicas` differs from the size that the active ReplicaSets were scaled for.
pub(super) fn size_changed(work: &Working<'_>) -> bool {
    let wanted = work.deployment.replicas;
    work.sets
        .iter()
        .filter(|s| s.replicas > 0)
        .any(|s| s.number(DESIRED_ANNOTATION).is_some_and(|desired| desired != wanted))
}

/// One step towards `spec.replicas`. Returns whether it changed anything.
pub(super) fn scale(work: &mut Working<'_>) -> bool {
    let wanted = work.deployment.replicas;
    if let Some(only) = active_or_latest(work) {
        return work.scale(only, wanted);
    }
    if saturated(work) {
        let mut changed = false;
        for index in work.old() {
            if work.sets[index].replicas > 0 {
                changed |= work.scale(index, 0);
            }
        }
        return changed;
    }
    match work.deployment.strategy {
        Strategy::RollingUpdate { .. } => in_proportion(work),
        Strategy::Recreate => false,
    }
}

/// The one active ReplicaSet; without an active one, the new or the youngest; `None` if several are active.
fn active_or_latest(work: &Working<'_>) -> Option<usize> {
    let mut active = (0..work.sets.len()).filter(|i| work.sets[*i].replicas > 0);
    match (active.next(), active.next()) {
        (Some(only), None) => Some(only),
        (None, _) => work.new.or_else(|| work.sets.len().checked_sub(1)),
        _ => None,
    }
}

fn saturated(work: &Working<'_>) -> bool {
    let wanted = work.deployment.replicas;
    work.new.is_some_and(|new| {
        let set = &work.sets[new];
        set.replicas == wanted && set.number(DESIRED_ANNOTATION) == Some(wanted) && set.available() == wanted
    })
}

fn in_proportion(work: &mut Working<'_>) -> bool {
    let wanted = work.deployment.replicas;
    let allowed = if wanted > 0 { wanted + max_surge(work.deployment) } else { 0 };
    let mut active: Vec<usize> = (0..work.sets.len()).filter(|i| work.sets[*i].replicas > 0).collect();
    let to_add = allowed - active.iter().map(|i| work.sets[*i].replicas).sum::<i64>();
    // Largest first; among equals the youngest grow first and the oldest shrink first.
    active.sort_by_key(|i| {
        let age = i64::try_from(*i).unwrap_or(i64::MAX);
        (-work.sets[*i].replicas, if to_add > 0 { -age } else { age })
    });
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for index in &active {
        let mut size = work.sets[*index].replicas;
        if to_add != 0 {
            let share = share(work, *index, to_add, added);
            size += share;
            added += share;
        }
        sizes.push(size);
    }
    if let Some(first) = sizes.first_mut()
        && to_add != 0
    {
        *first = (*first + to_add - added).max(0);
    }
    let mut changed = false;
    for (index, size) in active.into_iter().zip(sizes) {
        changed |= work.scale(index, size);
    }
    changed
}

/// The share of one ReplicaSet in the replicas to add, or to remove if negative.
fn share(work: &Working<'_>, index: usize, to_add: i64, added: i64) -> i64 {
    let allowed = to_add - added;
    let set = &work.sets[index];
    if set.replicas == 0 || allowed == 0 {
        return 0;
    }
    let fraction = fraction(work, index);
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(work: &Working<'_>, index: usize) -> i64 {
    let set = &work.sets[index];
    if work.deployment.replicas == 0 {
        return -set.replicas;
    }
    let max = work.deployment.replicas + max_surge(work.deployment);
    let before = set
        .number(MAX_ANNOTATION)
        .filter(|n| *n > 0)
        .unwrap_or_else(|| shim_model::access::int(&work.deployment.status, &["replicas"]).unwrap_or(0));
    if before <= 0 {
        return 0;
    }
    // round(replicas * max / before), half up: all are positive.
    (2 * set.replicas * max + before) / (2 * before) - set.replicas
}
