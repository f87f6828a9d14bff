//! The watch cache: all objects of one resource in memory, and the window of its last changes.
//!
//! It is filled from one watch of the store (see `registry`) and read by every LIST, GET and WATCH. A watcher has a cursor
//! into the window and reads batches when it is woken. A change is stored once however many watch it, a slow watcher delays
//! nobody, and a watcher that falls out of the window is told to list again. Wake-ups of clients' watchers are debounced
//! (`debouncer`), and watchers with the same selection and encoding share the encoded frames (`broadcast`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::storage::object::Object;

mod broadcast;
mod debouncer;
mod watcher;

pub use broadcast::BroadcastGroup;
use broadcast::BroadcastGroups;
use debouncer::Debouncer;
pub use watcher::{Batch, Delivery, EncodedBatch, WatchEnd, WatchFrom, Watcher};

/// Changes kept in a window. A watcher that is this far behind would rather list again.
pub const WINDOW_CHANGES_MAX: usize = 16_384;
/// Bytes of superseded objects that a window may keep alive: bounds memory when objects are large.
pub const WINDOW_BYTES_MAX: usize = 32 << 20;
/// Changes older than this are dropped: clients refresh their position by bookmarks once a minute.
pub const WINDOW_AGE_MAX: Duration = Duration::from_secs(300);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was replaced.
    Modified,
    /// It is gone.
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
    /// The object after the change; before it, if it was deleted.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    /// The object in other shapes than its own, made by the first watcher that asks for one.
    pub shapes: Shapes,
    at: Instant,
}

/// Encodings of a change's object that are made at most once.
#[derive(Debug, Default)]
pub struct Shapes {
    /// As the row of a Table.
    pub table_row: OnceLock<Bytes>,
    /// As PartialObjectMetadata.
    pub partial: OnceLock<Bytes>,
}

/// A change as the store reports it.
#[derive(Clone, Debug)]
pub enum Written {
    /// The object was written.
    Put(Arc<Object>),
    /// The object was removed at `revision`.
    Removed {
        /// When.
        revision: u64,
    },
}

/// A consistent view of a resource at one revision.
pub struct View<'a> {
    state: RwLockReadGuard<'a, State>,
}

struct State {
    objects: BTreeMap<Box<str>, Arc<Object>>,
    window: VecDeque<Arc<Change>>,
    window_bytes: usize,
    /// Sequence number of the window's first change; cursors count in these, for one revision may hold many changes.
    first: u64,
    /// Every change after this revision is in the window.
    base: u64,
    /// The last change's revision.
    last: u64,
    /// The resource is no longer served.
    closed: bool,
}

/// The objects of one resource.
pub struct WatchCache {
    state: RwLock<State>,
    /// Holds the sequence number after the last change; watchers of this process sleep on it.
    changed: watch::Sender<u64>,
    /// The same debounced: watchers of clients sleep on it.
    debouncer: Arc<Debouncer>,
    groups: BroadcastGroups,
}

impl WatchCache {
    /// A cache that holds `objects` (`(key, object)`, the key as in [`key_of`]) as of `revision`.
    pub fn new(objects: impl IntoIterator<Item = (String, Arc<Object>)>, revision: u64) -> Arc<Self> {
        let objects = objects.into_iter().map(|(k, o)| (k.into_boxed_str(), o)).collect();
        let state = State {
            objects,
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

    /// Takes changes in the order of their revisions, then wakes the watchers once.
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

    /// Drops changes that are too old to keep.
    pub fn expire(&self, now: Instant) {
        self.state.write().expect("invariant: no reader or writer of the cache panics").trim(now);
    }

    /// Forgets the window and takes a new state: the store could not tell what happened in between. Every watcher
    /// is told that it lags.
    pub fn reset(&self, objects: impl IntoIterator<Item = (String, Arc<Object>)>, revision: u64) {
        let next = {
            let mut state = self.state.write().expect("invariant: no reader or writer of the cache panics");
            state.objects = objects.into_iter().map(|(k, o)| (k.into_boxed_str(), o)).collect();
            // One beyond any cursor, so that no watcher believes to be up to date.
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

    /// Ends all watches, and lets none begin: the resource is no longer served.
    pub fn close(&self) {
        let next = {
            let mut state = self.state.write().expect("invariant: no reader or writer of the cache panics");
            state.closed = true;
            // One beyond any cursor, so that every watcher looks.
            state.next() + 1
        };
        self.changed.send_replace(next);
        self.debouncer.notify(next);
    }

    /// A view of the present state. Hold it briefly and never across an await: writers wait for it.
    pub fn view(&self) -> View<'_> {
        View { state: self.state.read().expect("invariant: no reader or writer of the cache panics") }
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.view().get(namespace, name)
    }

    /// One object by its key.
    pub fn get_by_key(&self, key: &str) -> Option<Arc<Object>> {
        self.view().by_key(key)
    }

    /// Every object, or those of one namespace, in the order of their keys.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.view().iter(namespace).cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.view().state.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
                let previous = self.objects.insert(key.into_boxed_str(), object.clone());
                let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                (kind, revision, object, previous)
            }
            Written::Removed { revision } => {
                let Some(gone) = self.objects.remove(key.as_str()) else { return };
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
    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.by_key(&key_of(namespace, name))
    }

    fn by_key(&self, key: &str) -> Option<Arc<Object>> {
        self.state.objects.get(key).cloned()
    }

    /// Every object, or those of one namespace, in the order of their keys.
    pub fn iter(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Object>> {
        let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
        self.range(prefix, "").map(|(_, o)| o)
    }

    /// Objects whose key begins with `prefix`, from the key `start` on.
    pub fn range(&self, prefix: String, start: &str) -> impl Iterator<Item = (&str, &Arc<Object>)> {
        let from = if start > prefix.as_str() { start } else { prefix.as_str() };
        let range = (Bound::Included(from), Bound::Unbounded);
        let range = self.state.objects.range::<str, _>(range);
        range.take_while(move |(k, _)| k.starts_with(prefix.as_str())).map(|(k, o)| (&**k, o))
    }

    /// The revision of the last change.
    pub fn last_change(&self) -> u64 {
        self.state.last
    }
}

/// The key of an object in its cache and, after the resource's prefix, in the store: `namespace/name` or `name`.
pub fn key_of(namespace: &str, name: &str) -> String {
    let mut key = String::new();
    push_key(&mut key, namespace, name);
    key
}

/// Appends what [`key_of`] gives.
pub(crate) fn push_key(to: &mut String, namespace: &str, name: &str) {
    if !namespace.is_empty() {
        to.push_str(namespace);
        to.push('/');
    }
    to.push_str(name);
}

#[cfg(test)]
mod tests;
