//! The order in which surplus Pods are deleted, as upstream's.

use std::cmp::{Ordering, Reverse};

use crate::rows::{Phase, Pod, Seconds};

/// Sorts the Pods so that the first is deleted first: unscheduled, pending, not ready, low deletion cost, on a node with more
/// related Pods, ready for a shorter time, more restarts, younger. Ages are compared by order of magnitude, so that the UID
/// decides between nearly equal ones.
pub fn order(pods: &mut [&Pod], related_on_node: &[(&str, usize)], now: Seconds) {
    let crowd = |pod: &Pod| {
        let Some(node) = pod.node.as_deref() else { return 0 };
        related_on_node.binary_search_by(|(n, _)| (*n).cmp(node)).map_or(0, |i| related_on_node[i].1)
    };
    pods.sort_by(|a, b| {
        let phase = |p: &Pod| match p.phase {
            Phase::Pending => 0,
            Phase::Unknown => 1,
            _ => 2,
        };
        (a.node.is_some(), phase(a), a.is_ready(), a.deletion_cost, Reverse(crowd(a)))
            .cmp(&(b.node.is_some(), phase(b), b.is_ready(), b.deletion_cost, Reverse(crowd(b))))
            .then_with(|| by_magnitude(a.ready_since, b.ready_since, now))
            .then_with(|| b.restarts.cmp(&a.restarts))
            .then_with(|| by_magnitude(Some(a.created), Some(b.created), now))
            .then_with(|| a.uid().cmp(b.uid()))
    });
}

fn by_magnitude(x: Option<Seconds>, y: Option<Seconds>, now: Seconds) -> Ordering {
    let magnitude = |at: Seconds| match now - at {
        age if age <= 0 => -1,
        age => i64::from(age.ilog2()),
    };
    match (x, y) {
        (Some(x), Some(y)) => magnitude(x).cmp(&magnitude(y)),
        _ => Ordering::Equal,
    }
}
