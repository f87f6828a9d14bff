//! How often failed Pods of a DaemonSet were removed from a node. Deleted Pods leave nothing else to count, and a node that
//! refuses a Pod refuses the next one at once; the controller's back-off follows from this count.

use super::{CachedObject, Map};
use crate::{
    controllers::revisions::REVISION_LABEL,
    rows::{Phase, Pod, Seconds},
};

/// Counts are forgotten after this time without a failure: twice the longest back-off, as upstream.
const FORGET_AFTER: i64 = 2 * 15 * 60;
/// How often old counts are looked for, so that many removals do not each look at all of them.
const CLEAN_EVERY: i64 = 60;

/// The owner's UID, the node and the revision of the Pods.
type FailureKey = (Box<str>, Box<str>, Box<str>);

/// Numbers and times of removals.
#[derive(Debug, Clone, Default)]
pub(super) struct RemovedFailures {
    counts: Map<FailureKey, (u32, Seconds)>,
    cleaned: Seconds,
}

impl RemovedFailures {
    /// Follows one change of a Pod.
    pub fn update(&mut self, before: Option<&CachedObject>, after: Option<&CachedObject>, now: Seconds) {
        let Some(pod) = before.and_then(CachedObject::view::<Pod>) else { return };
        let is_removed =
            after.and_then(CachedObject::view::<Pod>).is_none_or(|after| after.deletion.is_some());
        if pod.phase != Phase::Failed || pod.deletion.is_some() || !is_removed {
            return;
        }
        let owner = pod.header().controller().filter(|owner| owner.kind == "DaemonSet");
        let (Some(owner), Some(node)) = (owner, pod.node.as_deref()) else { return };
        if now - self.cleaned >= CLEAN_EVERY {
            self.clean(now);
        }
        let hash = pod.header().labels.get(REVISION_LABEL).map_or("", String::as_str);
        let key: FailureKey = (owner.uid.as_str().into(), node.into(), hash.into());
        let count = self.get(&key.0, &key.1, &key.2, now).map_or(0, |(count, _)| count);
        self.counts.insert_mut(key, (count.saturating_add(1), now));
    }

    fn clean(&mut self, now: Seconds) {
        let is_old = |(_, (_, last)): &(&FailureKey, &(u32, Seconds))| now - *last > FORGET_AFTER;
        let old: Vec<FailureKey> = self.counts.iter().filter(is_old).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.counts.remove_mut(&key);
        }
        self.cleaned = now;
    }

    /// How many were removed, and when the last one was.
    pub fn get(&self, owner: &str, node: &str, hash: &str, now: Seconds) -> Option<(u32, Seconds)> {
        let key: FailureKey = (owner.into(), node.into(), hash.into());
        self.counts.get(&key).copied().filter(|(_, last)| now - *last <= FORGET_AFTER)
    }
}
