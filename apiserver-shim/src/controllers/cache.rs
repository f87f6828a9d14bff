//! The controllers' cache, shared between tasks: informers write it in short batches, workers read a snapshot during a
//! reconcile. The lock is held for a batch of changes, or to take a snapshot, and never across a walk or an await.

use std::sync::{Arc, Mutex, MutexGuard};

use shim_core::controllers::ControllerCache;
use tokio::sync::watch;

/// A cache and the revision up to which it is complete. Clones share.
#[derive(Clone)]
pub(super) struct SharedCache {
    cache: Arc<Mutex<ControllerCache>>,
    seen: Arc<watch::Sender<u64>>,
}

impl SharedCache {
    pub fn new(cache: ControllerCache) -> SharedCache {
        SharedCache { cache: Arc::new(Mutex::new(cache)), seen: Arc::new(watch::Sender::new(0)) }
    }

    /// A snapshot. Changes that follow copy what it shares, so it should not be kept.
    pub fn snapshot(&self) -> ControllerCache {
        self.write().clone()
    }

    pub fn write(&self) -> MutexGuard<'_, ControllerCache> {
        self.cache.lock().expect("invariant: no writer of the cache panics")
    }

    /// The revision up to which the cache is complete.
    pub fn seen(&self) -> watch::Receiver<u64> {
        self.seen.subscribe()
    }

    pub fn set_seen(&self, revision: u64) {
        self.seen.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }
}
