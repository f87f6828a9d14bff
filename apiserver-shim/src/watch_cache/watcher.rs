//! A watcher's side of the cache: where to begin, what to let through, and the batches that it reads.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Change, ChangeKind, State, WatchCache};
use crate::object::Object;
use crate::selection::Selection;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With every object there is, then its changes.
    Start,
    /// With the changes after a revision.
    After(u64),
    /// With changes from now on.
    Now,
}

/// The changes that were asked for are no longer in the window; `oldest` still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    /// The revision after which everything is known.
    pub oldest: u64,
}

/// One event of one watcher.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it is to this watcher: an object that leaves its selection is deleted to it.
    pub kind: ChangeKind,
    /// Its resourceVersion.
    pub revision: u64,
    /// The object to show.
    pub object: Arc<Object>,
    /// The change that caused it; none for the objects that were there at the start.
    pub change: Option<Arc<Change>>,
}

impl Delivery {
    /// The shared change, if the object to show is the change's own (so that encodings can be shared).
    pub fn shared(&self) -> Option<&Change> {
        self.change.as_deref().filter(|c| Arc::ptr_eq(&c.object, &self.object))
    }
}

/// What a watcher reads at once.
#[derive(Debug)]
pub struct Batch {
    /// The events, in order.
    pub deliveries: Vec<Delivery>,
    /// Up to which revision of this resource the watcher has now seen everything.
    pub revision: u64,
}

/// A cursor into a cache's window.
pub struct Watcher {
    cache: Arc<WatchCache>,
    selection: Selection,
    pub(super) next: u64,
    initial: Vec<Arc<Object>>,
    /// Changes up to here are known to the watcher already, even if the cache learns of them only later.
    after: u64,
    seen: u64,
    wake: watch::Receiver<u64>,
}

impl WatchCache {
    /// Begins a watch.
    pub fn watch(self: &Arc<Self>, from: WatchFrom, selection: Selection) -> Result<Watcher, Lagged> {
        // Subscribed before looking: a change in between wakes once too often, never once too few.
        let wake = self.changed.subscribe();
        let view = self.view();
        let state = &*view.state;
        let (next, initial) = match from {
            WatchFrom::Now => (state.next(), Vec::new()),
            WatchFrom::Start => {
                let mut all: Vec<_> =
                    view.iter(selection.namespace()).filter(|o| selection.matches(o)).cloned().collect();
                all.reverse();
                (state.next(), all)
            }
            WatchFrom::After(revision) if revision < state.base => return Err(Lagged { oldest: state.base }),
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
    /// What there is to deliver now, at most `limit` events; an empty batch means that nothing is left.
    pub fn poll(&mut self, limit: usize) -> Result<Batch, Lagged> {
        let mut deliveries = Vec::new();
        while deliveries.len() < limit {
            let Some(object) = self.initial.pop() else { break };
            let kind = ChangeKind::Added;
            deliveries.push(Delivery { kind, revision: object.revision, object, change: None });
        }
        if !self.initial.is_empty() || deliveries.len() >= limit {
            return Ok(Batch { deliveries, revision: self.seen });
        }
        for change in self.take(limit - deliveries.len())? {
            if change.revision <= self.after {
                continue;
            }
            self.seen = change.revision;
            deliveries.extend(deliver(&self.selection, change));
        }
        Ok(Batch { deliveries, revision: self.seen })
    }

    /// Waits until there is something to deliver.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Lagged> {
        loop {
            self.wake.borrow_and_update();
            let next = self.next;
            let batch = self.poll(limit)?;
            if !batch.deliveries.is_empty() {
                return Ok(batch);
            }
            // Changes that concern others were read: there may be more behind them.
            if self.next == next && self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until something has changed since the last look (or might have).
    pub async fn changed(&mut self) {
        if *self.wake.borrow_and_update() != self.next || self.has_initial() {
            return;
        }
        if self.wake.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether objects that were there at the start are still to be delivered.
    pub fn has_initial(&self) -> bool {
        !self.initial.is_empty()
    }

    /// The revision up to which this watcher has seen every change of its resource.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    fn take(&mut self, limit: usize) -> Result<Vec<Arc<Change>>, Lagged> {
        let view = self.cache.view();
        let state: &State = &view.state;
        if self.next < state.first {
            return Err(Lagged { oldest: state.base });
        }
        let from = (self.next - state.first) as usize;
        let to = state.window.len().min(from + limit);
        let changes: Vec<_> = state.window.range(from..to).cloned().collect();
        self.next += changes.len() as u64;
        Ok(changes)
    }
}

/// What a change is to a watcher: objects come into its selection and leave it.
fn deliver(selection: &Selection, change: Arc<Change>) -> Option<Delivery> {
    let before = change.previous.as_ref().is_some_and(|p| selection.matches(p));
    let after = change.kind != ChangeKind::Deleted && selection.matches(&change.object);
    let (kind, object) = match (before, after) {
        (false, false) => return None,
        (false, true) => (ChangeKind::Added, change.object.clone()),
        (true, true) => (ChangeKind::Modified, change.object.clone()),
        (true, false) => (ChangeKind::Deleted, change.previous.clone()?),
    };
    Some(Delivery { kind, revision: change.revision, object, change: Some(change) })
}
