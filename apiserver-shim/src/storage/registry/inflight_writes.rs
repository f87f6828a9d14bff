//! Objects that this process is writing. They come back from the store and go into the caches; until then, what the writer
//! knows of an object waits here, so that its bytes are not parsed again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shim_model::object::StoredObject;
use store::{Key, KeyValue};

/// Objects that are being written, by key: at most as many as there are writes in flight.
#[derive(Default)]
pub(super) struct InflightWrites {
    objects: Mutex<HashMap<Key, Arc<StoredObject>>>,
}

impl InflightWrites {
    /// Registers an object before its write. It is forgotten again unless the guard is told that the write happened.
    pub(super) fn register(&self, key: &Key, stored: &Arc<StoredObject>) -> InflightGuard<'_> {
        self.lock().insert(key.clone(), stored.clone());
        InflightGuard { inflight: self, key: key.clone(), stored: stored.clone(), written: false }
    }

    /// The registered object with exactly these bytes, which came back from the store.
    pub(super) fn take(&self, arrived: &KeyValue) -> Option<Arc<StoredObject>> {
        let mut objects = self.lock();
        let same = objects.get(&arrived.key).is_some_and(|object| object.bytes == arrived.value);
        if same { objects.remove(&arrived.key) } else { None }
    }

    /// Forgets all objects: the caches were read anew, so the events will not come.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<StoredObject>>> {
        self.objects.lock().expect("invariant: no holder of the lock panics")
    }
}

/// A write in flight.
pub(crate) struct InflightGuard<'a> {
    inflight: &'a InflightWrites,
    key: Key,
    stored: Arc<StoredObject>,
    written: bool,
}

impl InflightGuard<'_> {
    /// The write happened: its event will come, or has.
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
