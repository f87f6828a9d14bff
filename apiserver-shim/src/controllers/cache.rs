//! The controllers' cache, shared: the informers write it in short batches, the workers read it during a reconcile. Nobody
//! holds the lock across an await.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use shim_core::controllers::ControllerCache;
use tokio::sync::watch;

/// A cache and how far it is. Clones share.
#[derive(Clone)]
pub(super) struct SharedCache {
    cache: Arc<RwLock<ControllerCache>>,
    seen: Arc<watch::Sender<u64>>,
}

impl SharedCache {
    pub fn new(cache: ControllerCache) -> SharedCache {
        SharedCache { cache: Arc::new(RwLock::new(cache)), seen: Arc::new(watch::Sender::new(0)) }
    }

    pub fn read(&self) -> RwLockReadGuard<'_, ControllerCache> {
        self.cache.read().expect("invariant: no writer of the cache panics")
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, ControllerCache> {
        self.cache.write().expect("invariant: no writer of the cache panics")
    }

    /// The revision up to which the cache contains everything.
    pub fn seen(&self) -> watch::Receiver<u64> {
        self.seen.subscribe()
    }

    pub fn set_seen(&self, revision: u64) {
        self.seen.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }
}
