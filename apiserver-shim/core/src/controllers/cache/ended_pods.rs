//! The Pods that have ended, in the order in which the Pod garbage collector deletes them when there are too many.

use super::{CachedObject, Set};
use crate::rows::{Key, Pod, Seconds};

/// Evicted Pods first, then the oldest ones, as upstream.
type Place = (bool, Seconds, Key);

/// All Pods that have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct EndedPods(Set<Place>);

fn place(pod: &Pod) -> Option<Place> {
    let evicted = || memchr::memmem::find(pod.object.status(), br#""reason":"Evicted""#).is_some();
    pod.phase.is_terminal().then(|| (!evicted(), pod.created, Key::of(pod.header())))
}

impl EndedPods {
    /// Follows one change of a Pod.
    pub fn update(&mut self, before: Option<&CachedObject>, after: Option<&CachedObject>) {
        let place = |object: Option<&CachedObject>| place(object?.view::<Pod>()?);
        let (old, new) = (place(before), place(after));
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.0.remove_mut(&old);
        }
        if let Some(new) = new {
            self.0.insert_mut(new);
        }
    }

    /// The Pods beyond the last `most`, in order.
    pub fn beyond(&self, most: usize) -> impl Iterator<Item = &Key> {
        self.0.iter().take(self.0.size().saturating_sub(most)).map(|(_, _, key)| key)
    }

    /// Whether a Pod is one of those.
    pub fn is_beyond(&self, pod: &Pod, most: usize) -> bool {
        let surplus = self.0.size().saturating_sub(most);
        surplus > 0 && place(pod).is_some_and(|place| self.0.range(..place).take(surplus).count() < surplus)
    }
}
