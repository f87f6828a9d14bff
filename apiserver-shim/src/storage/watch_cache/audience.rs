//! Watchers that see the same: the same objects, written the same way. What one of them reads and writes from a place
//! in the window on is kept for a moment, and the others that have come to the same place take it as it is. Selecting
//! and copying then cost once for all of them, and what is sent lies in the processor's cache.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;

use crate::storage::selection::Selection;

/// Frames kept: the newest, and some for those who are a few turns behind.
const FRAMES_MAX: usize = 4;
/// Audiences known before the first look for those that everybody has left.
const SWEEP_MIN: usize = 64;

/// What all watchers of an audience are sent from one sequence number to another.
#[derive(Debug)]
pub(super) struct Frame {
    /// The first change's number.
    pub(super) from: u64,
    /// The number after the last.
    pub(super) to: u64,
    /// The first change's revision: who knows it already must not take the frame.
    pub(super) oldest: u64,
    /// The last change's revision.
    pub(super) revision: u64,
    /// Whether a limit has ended it.
    pub(super) cut: bool,
    /// What is sent; empty if none of the changes concerns this audience.
    pub(super) bytes: Bytes,
}

/// Watchers that see the same.
#[derive(Debug, Default)]
pub struct Audience {
    frames: Mutex<VecDeque<Frame>>,
}

/// The frames of an audience, while nobody else writes one.
pub(super) struct Frames<'a> {
    kept: MutexGuard<'a, VecDeque<Frame>>,
    shared: bool,
}

impl Audience {
    pub(super) fn frames(self: &Arc<Self>) -> Frames<'_> {
        let kept = self.frames.lock().expect("invariant: nobody panics who writes a frame");
        Frames { kept, shared: Arc::strong_count(self) > 1 }
    }
}

impl Frames<'_> {
    pub(super) fn find(&self, from: u64) -> Option<&Frame> {
        self.kept.iter().rev().find(|frame| frame.from == from)
    }

    /// Keeps a frame for the others, if there are any.
    pub(super) fn keep(&mut self, frame: Frame) {
        if !self.shared {
            self.kept.clear();
            return;
        }
        // One who is far behind does not drive out what the others are about to take.
        if self.kept.back().is_some_and(|newest| newest.from > frame.from) {
            return;
        }
        if self.kept.len() >= FRAMES_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(frame);
    }
}

/// The audiences of one cache.
#[derive(Default)]
pub(super) struct Audiences {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_sight: HashMap<(Selection, String), Weak<Audience>>,
    sweep_at: usize,
}

impl Audiences {
    pub(super) fn join(&self, selection: &Selection, form: String) -> Arc<Audience> {
        let mut known = self.known.lock().expect("invariant: nobody panics who joins an audience");
        if known.by_sight.len() >= known.sweep_at.max(SWEEP_MIN) {
            known.by_sight.retain(|_, audience| audience.strong_count() > 0);
            known.sweep_at = known.by_sight.len() * 2;
        }
        let entry = known.by_sight.entry((selection.clone(), form)).or_default();
        if let Some(audience) = entry.upgrade() {
            return audience;
        }
        let audience = Arc::new(Audience::default());
        *entry = Arc::downgrade(&audience);
        audience
    }
}
