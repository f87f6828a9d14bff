//! What this process writes comes back to it from the store, and from there the caches take it. Until then what the writer
//! knows of the object waits here: bytes that have just been written need not be read again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shim_model::object::StoredObject;
use store::{Key, KeyValue};

/// Objects that are being written, by their keys: as many at most as there are writes under way.
#[derive(Default)]
pub(super) struct OnTheWay {
    objects: Mutex<HashMap<Key, Arc<StoredObject>>>,
}

impl OnTheWay {
    /// Notes what is about to be written; it is forgotten again unless the write is told to have happened.
    pub(super) fn note(&self, key: &Key, stored: &Arc<StoredObject>) -> Noted<'_> {
        self.lock().insert(key.clone(), stored.clone());
        Noted { on: self, key: key.clone(), stored: stored.clone(), written: false }
    }

    /// What was noted of exactly these bytes, which have arrived.
    pub(super) fn take(&self, arrived: &KeyValue) -> Option<Arc<StoredObject>> {
        let mut objects = self.lock();
        let same = objects.get(&arrived.key).is_some_and(|noted| noted.bytes == arrived.value);
        if same { objects.remove(&arrived.key) } else { None }
    }

    /// Forgets everything, for it will not arrive: the caches have been read anew.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<StoredObject>>> {
        self.objects.lock().expect("invariant: nobody panics who holds what is on the way")
    }
}

/// A write under way.
pub(super) struct Noted<'a> {
    on: &'a OnTheWay,
    key: Key,
    stored: Arc<StoredObject>,
    written: bool,
}

impl Noted<'_> {
    /// The write has happened, so that it will arrive or has.
    pub(super) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if self.written {
            return;
        }
        let mut objects = self.on.lock();
        // Another writer of the same key may have noted its own by now.
        if objects.get(&self.key).is_some_and(|noted| Arc::ptr_eq(noted, &self.stored)) {
            objects.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
