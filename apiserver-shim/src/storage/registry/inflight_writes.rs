//! Writes in flight. Objects that this process writes arrive again through the watch of the store; until then their
//! parsed headers are kept here, so that they are not parsed twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shim_model::object::StoredObject;
use store::{Key, KeyValue};

/// Objects being written, by key. Bounded by the number of concurrent writes.
#[derive(Default)]
pub(super) struct InflightWrites {
    objects: Mutex<HashMap<Key, Arc<StoredObject>>>,
}

impl InflightWrites {
    /// Registers an object before its write. It is removed again unless the guard is committed.
    pub(super) fn register(&self, key: &Key, stored: &Arc<StoredObject>) -> InflightGuard<'_> {
        self.lock().insert(key.clone(), stored.clone());
        InflightGuard { inflight: self, key: key.clone(), stored: stored.clone(), written: false }
    }

    /// Takes the registered object whose bytes equal those that arrived from the store.
    pub(super) fn take(&self, arrived: &KeyValue) -> Option<Arc<StoredObject>> {
        let mut objects = self.lock();
        let same = objects.get(&arrived.key).is_some_and(|object| object.bytes == arrived.value);
        if same { objects.remove(&arrived.key) } else { None }
    }

    /// Removes all objects: the caches were listed again, so the events will not arrive.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<StoredObject>>> {
        self.objects.lock().expect("invariant: no holder of the lock panics")
    }
}

/// Guard of a write in flight.
pub(crate) struct InflightGuard<'a> {
    inflight: &'a InflightWrites,
    key: Key,
    stored: Arc<StoredObject>,
    written: bool,
}

impl InflightGuard<'_> {
    /// Marks the write as done: its event will arrive or has arrived.
    pub(crate) fn commit(mut self) {
        self.written = true;
    }
}

impl Drop for InflightGuard<'_> {
    fn drop(&mut self) {
        if self.written {
            return;
        }
        let mut objects = self.inflight.lock();
        // Another writer of the same key may have registered its own object.
        if objects.get(&self.key).is_some_and(|object| Arc::ptr_eq(object, &self.stored)) {
            objects.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
