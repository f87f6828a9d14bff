//! The watch cache: all objects of one resource in memory and a window of its recent changes.
//!
//! One watch of the store fills it (see `registry`); every LIST, GET and WATCH reads it. A watcher is a cursor into
//! the window and reads batches when it is notified. Each change is stored once regardless of the number of watchers,
//! and a slow watcher delays no other. A watcher that falls out of the window must list again. Notifications to
//! clients' watchers are debounced (`debouncer`), and watchers with the same selection and encoding share the encoded
//! frames (`broadcast`), also those of a version that is not stored (`conversion`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::storage::object::Object;
use crate::storage::selection::Selection;

mod broadcast;
mod conversion;
mod debouncer;
mod signature;
mod watcher;

pub use broadcast::BroadcastGroup;
use broadcast::BroadcastGroups;
pub use conversion::redeliver;
use debouncer::Debouncer;
use signature::{Signature, Wanted};
pub use watcher::{Batch, Delivery, EncodedBatch, WatchEnd, WatchFrom, Watcher};

/// Changes kept in a window. Listing again is cheaper for a watcher that is further behind.
pub const WINDOW_CHANGES_MAX: usize = 16_384;
/// Bytes of superseded objects that a window may retain; bounds memory for large objects.
pub const WINDOW_BYTES_MAX: usize = 32 << 20;
/// Maximum age of a change in the window. Clients refresh their resourceVersion by bookmarks once a minute.
pub const WINDOW_AGE_MAX: Duration = Duration::from_secs(300);

/// The type of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The object was created.
    Added,
    /// The object was updated.
    Modified,
    /// The object was deleted.
    Deleted,
}

impl ChangeKind {
    /// The `type` of a watch event.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        }
    }
}

/// One change, shared by the window and every watcher.
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The store revision at which it happened.
    pub revision: u64,
    /// The object after the change, or its last state if it was deleted.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    /// Other representations of the object, encoded by the first watcher that needs them.
    pub shapes: Shapes,
    at: Instant,
}

/// Representations of a change's object, each encoded at most once.
#[derive(Debug, Default)]
pub struct Shapes {
    /// A row of a `Table`.
    pub table_row: OnceLock<Bytes>,
    /// A `PartialObjectMetadata`.
    pub partial: OnceLock<Bytes>,
}

/// A change as the store reports it.
#[derive(Clone, Debug)]
pub enum Written {
    /// The object was written.
    Put(Arc<Object>),
    /// The object was removed at `revision`.
    Removed {
        /// The revision of the removal.
        revision: u64,
    },
}

/// A consistent snapshot of a resource at one revision.
pub struct View<'a> {
    state: RwLockReadGuard<'a, State>,
}

/// A cached object with what a selector compares first.
struct Entry {
    object: Arc<Object>,
    signature: Signature,
}

struct State {
    objects: BTreeMap<Box<str>, Entry>,
    window: VecDeque<Arc<Change>>,
    window_bytes: usize,
    /// Sequence number of the window's first change. Cursors are sequence numbers because one revision may hold
    /// several changes.
    first: u64,
    /// All changes after this revision are in the window.
    base: u64,
    /// The revision of the last change.
    last: u64,
    /// The resource is no longer served.
    closed: bool,
}

/// The objects of one resource.
pub struct WatchCache {
    state: RwLock<State>,
    /// The sequence number after the last change. Watchers of this process wait on it.
    changed: watch::Sender<u64>,
    /// Debounced copy of `changed`. Watchers of clients wait on it.
    debouncer: Arc<Debouncer>,
    groups: BroadcastGroups,
}

impl WatchCache {
    /// A cache of `objects` at `revision`. Keys have the form of [`key_of`].
    pub fn new(objects: impl IntoIterator<Item = (String, Arc<Object>)>, revision: u64) -> Arc<Self> {
        let state = State {
            objects: objects
                .into_iter()
                .map(|(key, object)| (key.into_boxed_str(), Entry::new(object)))
                .collect(),
            window: VecDeque::new(),
            window_bytes: 0,
            first: 0,
            base: revision,
            last: revision,
            closed: false,
        };
        let (changed, groups) = (watch::Sender::new(0), BroadcastGroups::default());
        Arc::new(WatchCache { state: RwLock::new(state), changed, debouncer: Debouncer::new(), groups })
    }

    /// Applies changes in the order of their revisions and notifies the watchers once.
    pub fn apply(&self, changes: impl IntoIterator<Item = (String, Written)>, now: Instant) {
        let next = {
            let mut state = self.state.write().expect("invariant: no reader or writer of the cache panics");
            for (key, written) in changes {
                state.apply(key, written, now);
            }
            state.trim(now);
            state.next()
        };
        self.changed.send_replace(next);
        self.debouncer.notify(next);
    }

    /// Drops changes older than [`WINDOW_AGE_MAX`].
    pub fn expire(&self, now: Instant) {
        self.state.write().expect("invariant: no reader or writer of the cache panics").trim(now);
    }

    /// Replaces the objects and empties the window, because changes were missed. All watchers end with
    /// [`WatchEnd::Lagged`].
    pub fn reset(&self, objects: impl IntoIterator<Item = (String, Arc<Object>)>, revision: u64) {
        let next = {
            let mut state = self.state.write().expect("invariant: no reader or writer of the cache panics");
            state.objects =
                objects.into_iter().map(|(key, object)| (key.into_boxed_str(), Entry::new(object))).collect();
            // One beyond any cursor, so that every watcher notices that it lags.
            state.first = state.next() + 1;
            state.window.clear();
            state.window_bytes = 0;
            state.base = revision;
            state.last = revision;
            state.next()
        };
        self.changed.send_replace(next);
        self.debouncer.notify(next);
    }

    /// Ends all watches and refuses new ones: the resource is no longer served.
    pub fn close(&self) {
        let next = {
            let mut state = self.state.write().expect("invariant: no reader or writer of the cache panics");
            state.closed = true;
            // One beyond any cursor, so that every watcher wakes up.
            state.next() + 1
        };
        self.changed.send_replace(next);
        self.debouncer.notify(next);
    }

    /// A snapshot under the read lock. Hold it briefly and never across an await, because it blocks writers.
    pub fn view(&self) -> View<'_> {
        View { state: self.state.read().expect("invariant: no reader or writer of the cache panics") }
    }

    /// Returns the object with this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.view().get(namespace, name)
    }

    /// Returns the object with this key.
    pub fn get_by_key(&self, key: &str) -> Option<Arc<Object>> {
        self.view().by_key(key)
    }

    /// Lists all objects, or those of one namespace, sorted by key.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.view().iter(namespace).cloned().collect()
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.view().state.objects.len()
    }

    /// Whether the cache has no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    fn new(object: Arc<Object>) -> Self {
        let signature = Signature::of(&object);
        Entry { object, signature }
    }
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.window.len() as u64
    }

    /// The revision of the change with this sequence number.
    fn revision_at(&self, number: u64) -> Option<u64> {
        let at = number.checked_sub(self.first)?;
        self.window.get(at as usize).map(|change| change.revision)
    }

    fn apply(&mut self, key: String, written: Written, now: Instant) {
        let (kind, revision, object, previous) = match written {
            Written::Put(object) => {
                let revision = object.revision;
                let previous = self.objects.insert(key.into_boxed_str(), Entry::new(object.clone()));
                let previous = previous.map(|entry| entry.object);
                let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                (kind, revision, object, previous)
            }
            Written::Removed { revision } => {
                let Some(Entry { object: gone, .. }) = self.objects.remove(key.as_str()) else { return };
                (ChangeKind::Deleted, revision, gone.clone(), Some(gone))
            }
        };
        self.last = revision;
        self.window_bytes += previous.as_ref().map_or(0, |p| p.bytes().len());
        let shapes = Shapes::default();
        self.window.push_back(Arc::new(Change { kind, revision, object, previous, shapes, at: now }));
    }

    fn trim(&mut self, now: Instant) {
        while let Some(change) = self.window.front() {
            let full = self.window.len() > WINDOW_CHANGES_MAX || self.window_bytes > WINDOW_BYTES_MAX;
            if !full && now.saturating_duration_since(change.at) < WINDOW_AGE_MAX {
                return;
            }
            self.base = change.revision;
            self.window_bytes -= change.previous.as_ref().map_or(0, |p| p.bytes().len());
            self.first += 1;
            self.window.pop_front();
        }
    }
}

impl View<'_> {
    /// Returns the object with this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.by_key(&key_of(namespace, name))
    }

    fn by_key(&self, key: &str) -> Option<Arc<Object>> {
        self.state.objects.get(key).map(|entry| entry.object.clone())
    }

    /// Iterates over all objects, or those of one namespace, sorted by key.
    pub fn iter(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Object>> {
        self.range(namespace, "").map(|(_, entry)| &entry.object)
    }

    /// Iterates over selected objects from the key `start` on, with their keys.
    pub fn selected<'a>(
        &'a self,
        selection: &'a Selection,
        start: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Object>)> {
        let wanted = Wanted::of(selection);
        self.range(selection.namespace(), start)
            .filter(move |(_, entry)| wanted.may_match(&entry.signature, &entry.object))
            .map(|(key, entry)| (key, &entry.object))
            .filter(|(_, object)| selection.matches(object))
    }

    /// The number of objects of the selection's namespace after the key `last`, selected or not.
    pub fn count_after(&self, selection: &Selection, last: &str) -> usize {
        self.range(selection.namespace(), last).skip_while(|(key, _)| *key == last).count()
    }

    fn range(&self, namespace: Option<&str>, start: &str) -> impl Iterator<Item = (&str, &Entry)> {
        // The namespace's keys begin with `namespace/`; `0` is the character after `/`.
        let (first, end) = match namespace {
            Some(namespace) => (format!("{namespace}/"), Some(format!("{namespace}0"))),
            None => (String::new(), None),
        };
        let from = start.max(first.as_str());
        let end = match &end {
            Some(end) => Bound::Excluded(end.as_str().max(from)),
            None => Bound::Unbounded,
        };
        self.state.objects.range::<str, _>((Bound::Included(from), end)).map(|(key, entry)| (&**key, entry))
    }

    /// The revision of the last change.
    pub fn last_change(&self) -> u64 {
        self.state.last
    }
}

/// The key of an object below its resource's prefix: `namespace/name`, or `name` for cluster-scoped objects.
pub fn key_of(namespace: &str, name: &str) -> String {
    let mut key = String::new();
    push_key(&mut key, namespace, name);
    key
}

/// Appends the key that [`key_of`] returns.
pub(crate) fn push_key(to: &mut String, namespace: &str, name: &str) {
    if !namespace.is_empty() {
        to.push_str(namespace);
        to.push('/');
    }
    to.push_str(name);
}

#[cfg(test)]
mod tests;
