//! Where the objects of a resource are: the keys below one prefix of the store and the watch cache over them.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use shim_core::definition::ResourceDefinition;
use store::{Event, Key};

use crate::metrics::store_requests::{StoreMetrics, StoreRequests};
use crate::storage::object::Object;
use crate::storage::registry::parse;
use crate::storage::watch_cache::{WatchCache, Written, push_key};

/// Events kept while a store is being opened. A listing takes milliseconds; with more changes meanwhile it is repeated.
pub(crate) const OPENING_EVENTS_MAX: usize = 16_384;

/// The objects below one prefix of the store. Resources that share storage share it.
pub struct ResourceStore {
    prefix: String,
    definition: Arc<ResourceDefinition>,
    cache: Arc<WatchCache>,
    /// Events up to this revision are in the listing that the cache began with.
    listed: AtomicU64,
    is_opening: AtomicBool,
    opening: Mutex<Buffer>,
    requests: OnceLock<StoreRequests>,
}

/// Events that arrive before the listing.
#[derive(Default)]
struct Buffer {
    events: Vec<Event>,
    overflowed: bool,
}

impl fmt::Debug for ResourceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ResourceStore {
    /// A store with the objects of a listing. `definition` is the version that objects are stored in.
    pub(crate) fn new(definition: Arc<ResourceDefinition>, cache: Arc<WatchCache>) -> Self {
        ResourceStore {
            prefix: definition.storage_prefix(),
            definition,
            cache,
            listed: AtomicU64::new(0),
            is_opening: AtomicBool::new(false),
            opening: Mutex::default(),
            requests: OnceLock::new(),
        }
    }

    /// A store whose objects are still to be listed: until [`ResourceStore::open`] it keeps the events that arrive.
    pub(crate) fn opening(definition: Arc<ResourceDefinition>) -> Self {
        let cache = WatchCache::new(Vec::new(), 0);
        ResourceStore { is_opening: AtomicBool::new(true), ..ResourceStore::new(definition, cache) }
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The version that objects are stored in.
    pub fn definition(&self) -> &Arc<ResourceDefinition> {
        &self.definition
    }

    /// Its objects in memory.
    pub fn cache(&self) -> &Arc<WatchCache> {
        &self.cache
    }

    /// The metrics of requests to the store for its objects.
    pub(crate) fn requests(&self, metrics: &StoreMetrics) -> &StoreRequests {
        self.requests.get_or_init(|| metrics.of(&self.definition.group, &self.definition.plural))
    }

    /// The store key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + namespace.len() + name.len() + 1);
        key.push_str(&self.prefix);
        push_key(&mut key, namespace, name);
        Key::from(key)
    }

    /// Whether the event needs no further attention: the listing has it, or it is kept for [`ResourceStore::open`].
    pub(crate) fn absorbs(&self, event: &Event) -> bool {
        if self.is_opening.load(Ordering::Acquire) {
            let mut buffer = self.lock();
            // It may have been opened since.
            if self.is_opening.load(Ordering::Acquire) {
                match buffer.events.len() < OPENING_EVENTS_MAX {
                    true => buffer.events.push(event.clone()),
                    false => buffer.overflowed = true,
                }
                return true;
            }
        }
        revision_of(event) <= self.listed.load(Ordering::Acquire)
    }

    /// Events were missed while the store was being opened: the listing must be repeated.
    pub(crate) fn lose_events(&self) {
        self.lock().overflowed = true;
    }

    /// Takes the listing of the prefix as of `revision` and the events that arrived meanwhile. False if some of them
    /// were lost, so that the prefix must be listed again.
    pub(crate) fn open(&self, objects: Vec<(String, Arc<Object>)>, revision: u64) -> bool {
        let mut buffer = self.lock();
        let Buffer { events, overflowed } = std::mem::take(&mut *buffer);
        if overflowed {
            return false;
        }
        self.cache.reset(objects, revision);
        let later = events.iter().filter(|event| revision_of(event) > revision);
        let changes = later.filter_map(|event| {
            let key = event.key().as_str().strip_prefix(self.prefix.as_str())?.to_owned();
            let written = match event {
                Event::Put { kv, .. } => Written::Put(parse(&self.definition, kv, None)?),
                Event::Delete { revision, .. } => Written::Removed { revision: revision.0 },
            };
            Some((key, written))
        });
        self.cache.apply(changes.collect::<Vec<_>>(), Instant::now());
        self.listed.store(revision, Ordering::Release);
        self.is_opening.store(false, Ordering::Release);
        true
    }

    /// Whether the store is still being opened.
    pub(crate) fn is_opening(&self) -> bool {
        self.is_opening.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.opening.lock().expect("invariant: nobody panics who keeps an event")
    }
}

fn revision_of(event: &Event) -> u64 {
    match event {
        Event::Put { kv, .. } => kv.mod_revision.0,
        Event::Delete { revision, .. } => revision.0,
    }
}
