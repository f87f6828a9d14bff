//! The store of one resource: the keys below one prefix and the watch cache over them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use shim_core::definition::ResourceDefinition;
use store::{Event, Key};

use super::unreadable::UnreadableObjects;
use crate::metrics::store_requests::{StoreMetrics, StoreRequests};
use crate::storage::object::{CachedMessages, Object};
use crate::storage::registry::parse;
use crate::storage::watch_cache::{WatchCache, Written, push_key};

/// Events buffered while a store is being opened. A listing takes milliseconds; if more events arrive meanwhile, it
/// is repeated.
pub(crate) const OPENING_EVENTS_MAX: usize = 16_384;

/// The objects below one key prefix. Versions of a resource, and resources that share storage, use the same
/// `ResourceStore`.
pub struct ResourceStore {
    prefix: String,
    definition: Arc<ResourceDefinition>,
    cache: Arc<WatchCache>,
    /// The revision of the initial listing: events up to it are already in the cache.
    listed: AtomicU64,
    is_opening: AtomicBool,
    opening: Mutex<Buffer>,
    unreadable: UnreadableObjects,
    requests: OnceLock<StoreRequests>,
    messages: Arc<CachedMessages>,
}

/// The objects of a listing, without the resource's prefix in their keys.
#[derive(Default)]
pub struct ParsedListing {
    /// The objects.
    pub objects: Vec<(String, Arc<Object>)>,
    /// Why the others cannot be read.
    pub unreadable: BTreeMap<String, String>,
}

/// Events that arrive before the initial listing is loaded.
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
    /// A store whose cache is already filled. `definition` is the resource in its storage version.
    pub(crate) fn new(definition: Arc<ResourceDefinition>, cache: Arc<WatchCache>) -> Self {
        let prefix = definition.storage_prefix();
        ResourceStore {
            unreadable: UnreadableObjects::new(&prefix),
            prefix,
            definition,
            cache,
            listed: AtomicU64::new(0),
            is_opening: AtomicBool::new(false),
            opening: Mutex::default(),
            requests: OnceLock::new(),
            messages: Arc::default(),
        }
    }

    /// A store that is still to be listed. Until [`ResourceStore::open`] succeeds, arriving events are buffered.
    pub(crate) fn opening(definition: Arc<ResourceDefinition>) -> Self {
        let cache = WatchCache::new(Vec::new(), 0);
        ResourceStore { is_opening: AtomicBool::new(true), ..ResourceStore::new(definition, cache) }
    }

    /// The prefix of its keys, with a trailing slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The objects that cannot be read.
    pub fn unreadable(&self) -> &UnreadableObjects {
        &self.unreadable
    }

    /// The resource in its storage version.
    pub fn definition(&self) -> &Arc<ResourceDefinition> {
        &self.definition
    }

    /// The watch cache over the objects.
    pub fn cache(&self) -> &Arc<WatchCache> {
        &self.cache
    }

    /// The messages that are kept with its objects.
    pub fn messages(&self) -> &Arc<CachedMessages> {
        &self.messages
    }

    /// The metrics of the store requests for its objects.
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

    /// Whether the event is handled already: it is buffered for [`ResourceStore::open`], or the initial listing
    /// contains it.
    pub(crate) fn absorbs(&self, event: &Event) -> bool {
        if self.is_opening.load(Ordering::Acquire) {
            let mut buffer = self.lock();
            // Check again under the lock: `open` may have finished in the meantime.
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

    /// Records that events were missed while the store was being opened, so that the listing must be repeated.
    pub(crate) fn lose_events(&self) {
        self.lock().overflowed = true;
    }

    /// Loads the listing of the prefix at `revision`, then applies the buffered events. Returns false if events were
    /// lost; the prefix must then be listed again.
    pub(crate) fn open(&self, listing: ParsedListing, revision: u64) -> bool {
        let mut buffer = self.lock();
        let Buffer { events, overflowed } = std::mem::take(&mut *buffer);
        if overflowed {
            return false;
        }
        self.cache.reset(listing.objects, revision);
        self.unreadable.replace(listing.unreadable);
        let later = events.iter().filter(|event| revision_of(event) > revision);
        let changes = later.filter_map(|event| {
            let key = event.key().as_str().strip_prefix(self.prefix.as_str())?.to_owned();
            let written = match event {
                Event::Put { kv, .. } => match parse(&self.definition, kv, None) {
                    Ok(object) => Written::Put(object),
                    Err(reason) => {
                        self.unreadable.insert(&key, reason);
                        return None;
                    }
                },
                Event::Delete { revision, .. } => Written::Removed { revision: revision.0 },
            };
            self.unreadable.remove(&key);
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
        self.opening.lock().expect("invariant: no holder of the buffer's lock panics")
    }
}

fn revision_of(event: &Event) -> u64 {
    match event {
        Event::Put { kv, .. } => kv.mod_revision.0,
        Event::Delete { revision, .. } => revision.0,
    }
}
