//! The strategy RollingUpdate: replaces Pods of old templates within `maxUnavailable` or `maxSurge`. With OnDelete, Pods are
//! replaced when somebody deletes them.

use super::{Moves, PodsOnNodes, Snapshot, eligibility, is_updated};
use crate::{
    controllers::int_or_percent::resolve,
    rows::{DaemonSet, Pod, Seconds},
};

/// How many of `nodes` nodes may have a second Pod during an update.
pub fn max_surge(set: &DaemonSet, nodes: usize) -> usize {
    let bound = set.rolling_update.as_ref().map(|(_, surge)| resolve(surge, nodes as i64, true));
    bound.and_then(|bound| usize::try_from(bound).ok()).unwrap_or(0)
}

/// How many of `nodes` nodes may have no available Pod during an update.
pub fn max_unavailable(set: &DaemonSet, nodes: usize) -> usize {
    let bound = set.rolling_update.as_ref().map(|(missing, _)| resolve(missing, nodes as i64, true));
    let bound = bound.and_then(|bound| usize::try_from(bound).ok()).unwrap_or(0);
    // With both zero an update could not move; upstream then allows one unavailable Pod.
    if bound == 0 && max_surge(set, nodes) == 0 { nodes.min(1) } else { bound }
}

/// The next step of an update.
pub fn replace<'a>(snapshot: &Snapshot<'a>, on_nodes: &PodsOnNodes<'a>, hash: &str) -> Moves<'a> {
    let set = snapshot.set;
    if set.rolling_update.is_none() {
        return Moves::default();
    }
    let wanted = snapshot.nodes.iter().filter(|node| eligibility::of(set, node).should_run);
    let missing = wanted.clone().filter(|node| !on_nodes.contains_key(node.name())).count();
    let wanted = wanted.count();
    let nodes = on_nodes.iter().map(|(node, pods)| (*node, Pair::of(set, pods, hash, snapshot.now)));
    let nodes: Vec<(&str, Option<Pair<'a>>)> = nodes.collect();
    match max_surge(set, wanted) {
        0 => {
            Moves { create_on: Vec::new(), delete: delete_old(&nodes, missing, max_unavailable(set, wanted)) }
        }
        surge => surge_new(snapshot, &nodes, wanted, surge),
    }
}

/// The Pods of one node that are not being deleted: at most one of the present template and one of an old one.
#[derive(Default, Clone, Copy)]
struct Pair<'a> {
    new: Option<&'a Pod>,
    old: Option<&'a Pod>,
    new_available: bool,
    old_available: bool,
}

impl<'a> Pair<'a> {
    /// Nothing if the node has more, which the placement removes first.
    fn of(set: &DaemonSet, pods: &[&'a Pod], hash: &str, now: Seconds) -> Option<Pair<'a>> {
        let mut pair = Pair::default();
        for &pod in pods.iter().filter(|pod| pod.deletion.is_none()) {
            let available = pod.is_available(set.min_ready_seconds, now);
            let (slot, counts) = match is_updated(set, pod, hash) {
                true => (&mut pair.new, &mut pair.new_available),
                false => (&mut pair.old, &mut pair.old_available),
            };
            if slot.replace(pod).is_some() {
                return None;
            }
            *counts = available;
        }
        Some(pair)
    }
}

/// Without surge: deletes old Pods that are unavailable, and so many available ones that no more than `bound` nodes lack an
/// available Pod. The placement creates the new ones.
fn delete_old<'a>(nodes: &[(&str, Option<Pair<'a>>)], missing: usize, bound: usize) -> Vec<&'a Pod> {
    let mut unavailable = missing;
    let (mut delete, mut candidates) = (Vec::new(), Vec::new());
    for (_, pair) in nodes {
        match pair {
            Some(Pair { new: Some(_), old: None, new_available: true, .. }) => {}
            Some(Pair { new: None, old: Some(old), old_available: true, .. }) => candidates.push(*old),
            Some(Pair { new: None, old: Some(old), .. }) => {
                delete.push(*old);
                unavailable += 1;
            }
            _ => unavailable += 1,
        }
    }
    delete.extend(candidates.into_iter().take(bound.saturating_sub(unavailable)));
    delete
}

/// With surge: creates a second Pod beside available old ones on at most `bound` nodes, and beside unavailable ones on every
/// node; deletes an old Pod when the new one is available. Old Pods on nodes that no longer fit go as the others replace
/// them.
fn surge_new<'a>(
    snapshot: &Snapshot<'a>,
    nodes: &[(&str, Option<Pair<'a>>)],
    wanted: usize,
    bound: usize,
) -> Moves<'a> {
    let mut moves = Moves::default();
    let (mut misplaced, mut candidates) = (Vec::new(), Vec::new());
    let (mut surging, mut available) = (0, 0);
    for (name, pair) in nodes {
        let Some(pair) = pair else {
            surging += 1;
            continue;
        };
        available += usize::from(if pair.old.is_some() { pair.old_available } else { pair.new_available });
        let Some(old) = pair.old else { continue };
        if pair.new.is_some() {
            match pair.new_available {
                true => moves.delete.push(old),
                false => surging += 1,
            }
            continue;
        }
        let fit = snapshot.node(name).filter(|node| eligibility::of(snapshot.set, node).should_run);
        match (fit, pair.old_available) {
            (None, false) => moves.delete.push(old),
            (None, true) => misplaced.push(old),
            (Some(node), false) => moves.create_on.push(node.name()),
            (Some(node), true) => candidates.push(node.name()),
        }
    }
    moves.delete.extend(misplaced.into_iter().take(available.saturating_sub(wanted)));
    moves.create_on.extend(candidates.into_iter().take(bound.saturating_sub(surging)));
    moves
}
