//! The controllers' cache, shared between tasks: informers write it in short batches, workers read it during a
//! reconcile. The lock is never held across an await.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use shim_core::controllers::ControllerCache;
use tokio::sync::watch;

/// A cache and the revision up to which it is complete. Clones share.
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

    /// The revision up to which the cache is complete.
    pub fn seen(&self) -> watch::Receiver<u64> {
        self.seen.subscribe()
    }

    pub fn set_seen(&self, revision: u64) {
        self.seen.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }
}
