//! Watchers: where a watch starts, which changes it delivers, and in which batches it reads them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::broadcast::{BroadcastGroup, Frame};
use super::{Change, ChangeKind, State, WatchCache};
use crate::storage::object::Object;
use crate::storage::selection::Selection;

/// Approximate limit on the object bytes of one batch; bounds what a slow client makes the server hold.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With an ADDED event for every present object, then all later changes.
    Start,
    /// With the changes after this resourceVersion.
    After(u64),
    /// With the changes after the call.
    Now,
}

/// Why a watch has ended or cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The requested changes are no longer in the window.
    Lagged {
        /// The oldest resourceVersion at which a watch can start.
        oldest: u64,
    },
    /// The resource is no longer served.
    Closed,
}

/// One event for one watcher.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event's type for this watcher: an object that leaves the selection is DELETED.
    pub kind: ChangeKind,
    /// The resourceVersion of the event.
    pub revision: u64,
    /// The object that the event carries.
    pub object: Arc<Object>,
    /// The underlying change; `None` for the initial objects.
    pub change: Option<Arc<Change>>,
}

impl Delivery {
    /// The underlying change if the event carries its object, so that shared encodings can be used.
    pub fn shared(&self) -> Option<&Change> {
        self.change.as_deref().filter(|c| Arc::ptr_eq(&c.object, &self.object))
    }
}

/// The result of one poll.
#[derive(Debug)]
pub struct Batch {
    /// The events, in order.
    pub deliveries: Vec<Delivery>,
    /// The watcher has now seen all changes up to this revision.
    pub revision: u64,
    /// Whether a limit ended the batch, so that more can be read at once.
    pub cut: bool,
}

/// The result of one poll, encoded.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    /// The encoded events; may be empty.
    pub bytes: Bytes,
    /// The number of events.
    pub events: usize,
    /// Whether a limit ended the batch, so that more can be read at once.
    pub cut: bool,
}

/// A cursor into the window of a cache.
pub struct Watcher {
    pub(super) cache: Arc<WatchCache>,
    selection: Selection,
    pub(super) next: u64,
    initial: Vec<Arc<Object>>,
    /// Changes up to this revision are skipped: the client has them, even if the cache has yet to receive them.
    pub(super) after: u64,
    pub(super) seen: u64,
    wake: watch::Receiver<u64>,
}

impl WatchCache {
    /// Starts a watch.
    pub fn watch(self: &Arc<Self>, from: WatchFrom, selection: Selection) -> Result<Watcher, WatchEnd> {
        // Subscribe before reading: a change in between causes a spurious wake-up instead of a lost one.
        let wake = self.changed.subscribe();
        self.watch_by(from, selection, wake)
    }

    /// Starts a watch with debounced notifications. The caller must poll once before it waits.
    pub fn watch_debounced(
        self: &Arc<Self>,
        from: WatchFrom,
        selection: Selection,
    ) -> Result<Watcher, WatchEnd> {
        let wake = self.debouncer.subscribe();
        self.watch_by(from, selection, wake)
    }

    /// The broadcast group of watchers with this selection and encoding.
    pub fn broadcast_group(&self, selection: &Selection, form: String) -> Arc<BroadcastGroup> {
        self.groups.join(selection, form)
    }

    fn watch_by(
        self: &Arc<Self>,
        from: WatchFrom,
        selection: Selection,
        wake: watch::Receiver<u64>,
    ) -> Result<Watcher, WatchEnd> {
        let view = self.view();
        let state = &*view.state;
        if state.closed {
            return Err(WatchEnd::Closed);
        }
        let (next, initial) = match from {
            WatchFrom::Now => (state.next(), Vec::new()),
            WatchFrom::Start => {
                let mut all: Vec<_> =
                    view.selected(&selection, "").map(|(_, object)| object.clone()).collect();
                all.reverse();
                (state.next(), all)
            }
            WatchFrom::After(revision) if revision < state.base => {
                return Err(WatchEnd::Lagged { oldest: state.base });
            }
            WatchFrom::After(revision) => {
                let skip = state.window.partition_point(|c| c.revision <= revision);
                (state.first + skip as u64, Vec::new())
            }
        };
        let (after, seen) = match from {
            WatchFrom::After(revision) => (revision, revision),
            _ => (0, state.last),
        };
        drop(view);
        Ok(Watcher { cache: self.clone(), selection, next, initial, after, seen, wake })
    }
}

impl Watcher {
    /// Reads at most `limit` events without waiting. An empty batch means that the watcher is up to date.
    pub fn poll(&mut self, limit: usize) -> Result<Batch, WatchEnd> {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        while deliveries.len() < limit && bytes < BATCH_BYTES_MAX {
            let Some(object) = self.initial.pop() else { break };
            bytes += object.bytes().len();
            let kind = ChangeKind::Added;
            deliveries.push(Delivery { kind, revision: object.revision, object, change: None });
        }
        if !self.initial.is_empty() || deliveries.len() >= limit || bytes >= BATCH_BYTES_MAX {
            return Ok(Batch { deliveries, revision: self.seen, cut: true });
        }
        let (changes, cut) = self.take(limit - deliveries.len())?;
        for change in changes {
            if change.revision <= self.after {
                continue;
            }
            self.seen = change.revision;
            deliveries.extend(deliver(&self.selection, change));
        }
        Ok(Batch { deliveries, revision: self.seen, cut })
    }

    /// Like [`Watcher::poll`], but encoded. Reuses the frame that another watcher of the group encoded at the same
    /// position.
    pub fn poll_written(
        &mut self,
        group: &Arc<BroadcastGroup>,
        limit: usize,
        write: impl FnOnce(&[Delivery]) -> Bytes,
    ) -> Result<EncodedBatch, WatchEnd> {
        if self.has_initial() {
            let batch = self.poll(limit)?;
            let (bytes, events) = (write(&batch.deliveries), batch.deliveries.len());
            return Ok(EncodedBatch { bytes, events, cut: batch.cut });
        }
        let from = self.next;
        let mut frames = group.frames();
        if let Some(frame) = frames.find(from).filter(|frame| frame.oldest > self.after) {
            return Ok(self.take_frame(frame));
        }
        let first = self.cache.view().state.revision_at(from);
        let batch = self.poll(limit)?;
        let (bytes, events) = (write(&batch.deliveries), batch.deliveries.len());
        if let Some(oldest) = first.filter(|oldest| *oldest > self.after && self.next > from) {
            let (to, revision, cut) = (self.next, batch.revision, batch.cut);
            frames.keep(Frame { from, to, oldest, revision, cut, events, bytes: bytes.clone() });
        }
        Ok(EncodedBatch { bytes, events, cut: batch.cut })
    }

    /// Advances the cursor behind a frame and returns the frame's events.
    pub fn take_frame(&mut self, frame: &Frame) -> EncodedBatch {
        self.next = frame.to;
        self.seen = frame.revision;
        // A frame of changes that all fail the selection does not mean that the watcher is up to date.
        let cut = frame.cut || (frame.bytes.is_empty() && frame.to > frame.from);
        EncodedBatch { bytes: frame.bytes.clone(), events: frame.events, cut }
    }

    /// Whether there are unread changes that the watcher has been notified of.
    pub fn is_due(&self) -> bool {
        self.has_initial() || *self.wake.borrow() > self.next
    }

    /// Whether the cache has changes that the watcher has not read, whether or not it was notified of them.
    pub fn has_unread(&self) -> bool {
        let end = || {
            let view = self.cache.view();
            // A closed cache tells the watcher its end.
            view.state.next() + u64::from(view.state.closed)
        };
        self.has_initial() || end() > self.next
    }

    /// Waits for events and reads them.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, WatchEnd> {
        loop {
            self.wake.borrow_and_update();
            let next = self.next;
            let batch = self.poll(limit)?;
            if !batch.deliveries.is_empty() {
                return Ok(batch);
            }
            // Changes outside the selection were skipped; there may be more after them.
            if self.next == next && self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until there may be unread changes.
    pub async fn changed(&mut self) {
        if *self.wake.borrow_and_update() > self.next || self.has_initial() {
            return;
        }
        if self.wake.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether initial objects are still to be delivered.
    pub fn has_initial(&self) -> bool {
        !self.initial.is_empty()
    }

    /// The revision up to which this watcher has seen all changes of its resource.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Advances the cursor; returns the changes and whether a limit ended the batch.
    fn take(&mut self, limit: usize) -> Result<(Vec<Arc<Change>>, bool), WatchEnd> {
        let view = self.cache.view();
        let state: &State = &view.state;
        // Changes before the end are still delivered.
        if state.closed && self.next >= state.next() {
            return Err(WatchEnd::Closed);
        }
        if self.next < state.first {
            return Err(WatchEnd::Lagged { oldest: state.base });
        }
        let from = (self.next - state.first) as usize;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for change in state.window.range(from.min(state.window.len())..) {
            if changes.len() >= limit || bytes >= BATCH_BYTES_MAX {
                break;
            }
            bytes += change.object.bytes().len();
            changes.push(change.clone());
        }
        self.next += changes.len() as u64;
        Ok((changes, self.next < state.next()))
    }
}

/// Translates a change into an event for this selection: objects enter and leave it.
fn deliver(selection: &Selection, change: Arc<Change>) -> Option<Delivery> {
    let before = change.previous.as_ref().is_some_and(|p| selection.matches(p));
    let after = change.kind != ChangeKind::Deleted && selection.matches(&change.object);
    deliver_as(change, before, after)
}

/// The event of a change whose object was selected before, or whose new state is.
pub(super) fn deliver_as(change: Arc<Change>, before: bool, after: bool) -> Option<Delivery> {
    let (kind, object) = match (before, after) {
        (false, false) => return None,
        (false, true) => (ChangeKind::Added, change.object.clone()),
        (true, true) => (ChangeKind::Modified, change.object.clone()),
        (true, false) => (ChangeKind::Deleted, change.previous.clone()?),
    };
    Some(Delivery { kind, revision: change.revision, object, change: Some(change) })
}
