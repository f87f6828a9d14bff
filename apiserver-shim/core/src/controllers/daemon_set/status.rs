//! Counts for `status`.

use serde_json::Value;
use shim_model::access;

use super::{PodsOnNodes, Snapshot, eligibility, is_updated};

/// Counts nodes by their oldest Pod.
pub fn count(snapshot: &Snapshot<'_>, on_nodes: &PodsOnNodes<'_>, hash: &str, status: &mut Value) {
    let set = snapshot.set;
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for node in &snapshot.nodes {
        let pod = on_nodes.get(node.name()).and_then(|pods| pods.first());
        if !eligibility::of(set, node).should_run {
            misplaced += i64::from(pod.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = pod else { continue };
        current += 1;
        ready += i64::from(pod.is_ready());
        available += i64::from(pod.is_available(set.min_ready_seconds, snapshot.now));
        updated += i64::from(is_updated(set, pod, hash));
    }
    let members = access::object_mut(status, &[]);
    for (name, count) in [
        ("currentNumberScheduled", current),
        ("numberMisscheduled", misplaced),
        ("desiredNumberScheduled", desired),
        ("numberReady", ready),
        ("observedGeneration", set.header().generation),
    ] {
        members.insert(name.to_owned(), count.into());
    }
    for (name, count) in [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired - available),
    ] {
        match count {
            0 => members.remove(name),
            count => members.insert(name.to_owned(), count.into()),
        };
    }
}
