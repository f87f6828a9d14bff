//! Broadcast groups: watchers with the same selection and encoding. A frame that one watcher encodes is kept briefly,
//! and the others at the same position in the window send the same bytes. So filtering and encoding cost once per
//! group, and the bytes are still in the CPU's cache.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;

use super::conversion::Conversions;
use crate::storage::selection::Selection;

/// Frames kept: the newest, and a few for watchers that are some ticks behind.
const FRAMES_MAX: usize = 4;
/// Number of groups above which abandoned ones are swept.
const SWEEP_MIN: usize = 64;

/// Encoded events between two sequence numbers.
#[derive(Debug)]
pub struct Frame {
    /// Sequence number of the first change.
    pub(super) from: u64,
    /// Sequence number after the last change.
    pub(super) to: u64,
    /// Revision of the first change. A watcher that began after it must not send the frame.
    pub(super) oldest: u64,
    /// Revision of the last change.
    pub(super) revision: u64,
    /// Whether the batch limit ended the frame.
    pub(super) cut: bool,
    /// The number of encoded events.
    pub(super) events: usize,
    /// Empty if none of the changes matches the selection.
    pub(super) bytes: Bytes,
}

/// Watchers with the same selection and encoding.
#[derive(Debug, Default)]
pub struct BroadcastGroup {
    frames: Mutex<VecDeque<Frame>>,
    /// Frames of a version that is not stored.
    pub(super) conversions: Conversions,
}

/// The frames of a group, locked.
pub(super) struct Frames<'a> {
    recent: MutexGuard<'a, VecDeque<Frame>>,
    shared: bool,
}

impl BroadcastGroup {
    pub(super) fn frames(self: &Arc<Self>) -> Frames<'_> {
        let recent = self.frames.lock().expect("invariant: no holder of the frames' lock panics");
        Frames { recent, shared: Arc::strong_count(self) > 1 }
    }
}

impl Frames<'_> {
    pub(super) fn find(&self, from: u64) -> Option<&Frame> {
        self.recent.iter().rev().find(|frame| frame.from == from)
    }

    /// Keeps a frame if the group has other watchers.
    pub(super) fn keep(&mut self, frame: Frame) {
        if !self.shared {
            self.recent.clear();
            return;
        }
        keep_newest(&mut self.recent, frame, |kept| kept.from);
    }
}

/// Adds an item to the newest [`FRAMES_MAX`]; `from` is its position in the window. A watcher that is far behind must not
/// evict the frames that the others need next.
pub(super) fn keep_newest<T>(recent: &mut VecDeque<T>, item: T, from: impl Fn(&T) -> u64) {
    if recent.back().is_some_and(|newest| from(newest) > from(&item)) {
        return;
    }
    if recent.len() >= FRAMES_MAX {
        recent.pop_front();
    }
    recent.push_back(item);
}

/// The broadcast groups of one cache.
#[derive(Default)]
pub(super) struct BroadcastGroups {
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    by_key: HashMap<(Selection, String), Weak<BroadcastGroup>>,
    sweep_at: usize,
}

impl BroadcastGroups {
    pub(super) fn join(&self, selection: &Selection, encoding: String) -> Arc<BroadcastGroup> {
        let mut groups = self.groups.lock().expect("invariant: no holder of the groups' lock panics");
        if groups.by_key.len() >= groups.sweep_at.max(SWEEP_MIN) {
            groups.by_key.retain(|_, group| group.strong_count() > 0);
            groups.sweep_at = groups.by_key.len() * 2;
        }
        let entry = groups.by_key.entry((selection.clone(), encoding)).or_default();
        if let Some(group) = entry.upgrade() {
            return group;
        }
        let group = Arc::new(BroadcastGroup::default());
        *entry = Arc::downgrade(&group);
        group
    }
}
