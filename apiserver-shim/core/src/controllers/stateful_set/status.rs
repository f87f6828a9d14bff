//! Counts for `status`.

use serde_json::{Value, json};

use super::{Snapshot, history::History, identity};
use crate::rows::{Phase, Pod};

/// The status. `replaced` says that this plan deletes a Pod of the current revision.
pub fn of(snapshot: &Snapshot<'_>, history: &History, pods: &[&Pod], replaced: bool) -> Value {
    let set = snapshot.set;
    let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| test(pod)).count() as i64;
    let is_ready = |pod: &Pod| pod.phase == Phase::Running && pod.is_ready();
    let has = |pod: &Pod, revision: &str| pod.deletion.is_none() && identity::revision_of(pod) == revision;
    let replicas = pods.len() as i64;
    let ready = count(&is_ready);
    let available = count(&|pod| is_ready(pod) && pod.is_available(set.min_ready_seconds, snapshot.now));
    let updated = count(&|pod| has(pod, &history.update.revision));
    let mut current = count(&|pod| has(pod, &history.current.revision)) - i64::from(replaced);
    let mut current_revision = &history.current.revision;
    // The update is complete: its revision is the current one from now on.
    if set.partition.is_some() && [updated, ready, replicas].iter().all(|count| *count == set.replicas) {
        current = updated;
        current_revision = &history.update.revision;
    }
    let mut status = json!({
        "observedGeneration": set.header().generation,
        "replicas": replicas,
        "availableReplicas": available,
        "currentRevision": current_revision,
        "updateRevision": history.update.revision,
        "collisionCount": history.collisions,
    });
    for (name, count) in
        [("readyReplicas", ready), ("currentReplicas", current), ("updatedReplicas", updated)]
    {
        if count != 0 {
            status[name] = count.into();
        }
    }
    status
}
