//! Moves replicas from the old ReplicaSets to the new one, and deletes old revisions.

use super::{
    Snapshot, max_surge, max_unavailable,
    revision::{ensure_new, revision_of},
    working::Working,
};
use crate::rows::Strategy;

/// One step of a rolling update: scales the new ReplicaSet up as far as `maxSurge` allows, then the old ones down as far as
/// `maxUnavailable` allows. Returns whether anything changed.
pub(super) fn step(work: &mut Working<'_>) -> bool {
    grow_new(work) || shrink_old(work)
}

fn grow_new(work: &mut Working<'_>) -> bool {
    let Some(new) = work.new else { return false };
    let wanted = work.deployment.replicas;
    let has = work.sets[new].replicas;
    if has >= wanted {
        return has > wanted && work.scale(new, wanted);
    }
    let room = match work.deployment.strategy {
        Strategy::Recreate => wanted,
        Strategy::RollingUpdate { .. } => {
            // Pods that are still being deleted count as well: `maxSurge` is a bound on Pods, not on `spec.replicas`.
            let old = work.old();
            let held: i64 =
                old.iter().map(|i| work.sets[*i].replicas.max(work.sets[*i].counted("replicas"))).sum();
            wanted + max_surge(work.deployment) - held - has
        }
    };
    room > 0 && work.scale(new, has + room.min(wanted - has))
}

fn shrink_old(work: &mut Working<'_>) -> bool {
    let old = work.old();
    if old.iter().all(|i| work.sets[*i].replicas == 0) {
        return false;
    }
    let must_stay = work.deployment.replicas - max_unavailable(work.deployment);
    let new_missing = work.new.map_or(0, |n| work.sets[n].replicas - work.sets[n].available());
    // Counts `spec.replicas`, which the working copy has up to date: counts in the status may lag and allow too much.
    let may_go = work.wanted() - must_stay - new_missing;
    if may_go <= 0 {
        return false;
    }
    let broken = shrink_broken(work, &old, may_go);
    let healthy = shrink_healthy(work, &old, must_stay);
    broken || healthy
}

/// Removes unavailable replicas first.
fn shrink_broken(work: &mut Working<'_>, old: &[usize], may_go: i64) -> bool {
    let mut left = may_go;
    for &index in old {
        let set = &work.sets[index];
        let broken = set.replicas - set.available().min(set.replicas);
        let go = broken.min(left);
        if go > 0 {
            left -= go;
            let size = set.replicas - go;
            work.scale(index, size);
        }
    }
    left < may_go
}

fn shrink_healthy(work: &mut Working<'_>, old: &[usize], must_stay: i64) -> bool {
    // Replicas that this plan removes count as unavailable, even if the status still counts them as available.
    let available: i64 = work.sets.iter().map(|s| s.available().min(s.replicas)).sum();
    let may_go = available - must_stay;
    let mut left = may_go;
    for &index in old {
        let go = work.sets[index].replicas.min(left);
        if go > 0 {
            left -= go;
            let size = work.sets[index].replicas - go;
            work.scale(index, size);
        }
    }
    may_go > 0 && left < may_go
}

/// The strategy Recreate: all old Pods end before the first new one starts.
pub(super) fn recreate(work: &mut Working<'_>, snapshot: &Snapshot<'_>) {
    let old = work.old();
    let mut shrunk = false;
    for &index in &old {
        if work.sets[index].replicas > 0 {
            shrunk |= work.scale(index, 0);
        }
    }
    let new_uid = work.new.map_or("", |n| work.sets[n].uid());
    let old_counted = old.iter().any(|i| work.sets[*i].counted("replicas") > 0);
    let old_running = snapshot
        .pods
        .iter()
        .any(|p| !p.phase.is_terminal() && p.controller_uid().is_some_and(|uid| uid != new_uid));
    if shrunk || old_counted || old_running {
        return;
    }
    ensure_new(work);
    grow_new(work);
}

/// Deletes the oldest empty ReplicaSets beyond the history limit.
pub(super) fn clean_up(work: &mut Working<'_>) {
    let Some(limit) = work.deployment.revision_history_limit.filter(|l| *l < i64::from(i32::MAX)) else {
        return;
    };
    let mut candidates: Vec<usize> = work.old();
    candidates.retain(|i| work.sets[*i].found.is_some_and(|f| f.header().deletion_timestamp.is_none()));
    let excess = candidates.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    candidates.sort_by_key(|i| (revision_of(&work.sets[*i].annotations), *i));
    for index in candidates.into_iter().take(excess) {
        let set = &mut work.sets[index];
        let unseen = set.found.is_some_and(|f| f.header().generation > f.counted("observedGeneration"));
        if set.counted("replicas") == 0 && set.replicas == 0 && !unseen {
            set.delete = true;
        }
    }
}
