//! The stored objects of one resource that cannot be read: their values cannot be decrypted, or are damaged. They are not
//! served, and what is there of them stays in the store. If an earlier version could be read, it stays in the watch cache, so that no
//! component takes the object for deleted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shim_model::status::{self, Status};

use crate::storage::watch_cache::key_of;

/// Objects that cannot be read, by key without the resource's prefix, with the reasons.
#[derive(Debug)]
pub struct UnreadableObjects {
    prefix: String,
    /// The length of the map: most of the time there is none, and reads take no lock.
    count: AtomicUsize,
    reasons: Mutex<BTreeMap<String, String>>,
}

impl UnreadableObjects {
    /// None yet, of the resource with this prefix of keys.
    pub(super) fn new(prefix: &str) -> UnreadableObjects {
        UnreadableObjects { prefix: prefix.to_owned(), count: AtomicUsize::new(0), reasons: Mutex::default() }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let mut reasons = self.lock();
        change(&mut reasons);
        self.count.store(reasons.len(), Ordering::Release);
    }

    /// Replaces all of them.
    pub(crate) fn replace(&self, reasons: BTreeMap<String, String>) {
        for (key, reason) in &reasons {
            tracing::error!(key = %[&self.prefix, key.as_str()].concat(), reason, "stored object cannot be read");
        }
        self.change(|all| *all = reasons);
    }

    /// Adds an object.
    pub(crate) fn insert(&self, key: &str, reason: String) {
        tracing::error!(key = %[&self.prefix, key].concat(), reason, "stored object cannot be read");
        self.change(|all| drop(all.insert(key.to_owned(), reason)));
    }

    /// Removes an object, which has been written again or deleted.
    pub(crate) fn remove(&self, key: &str) {
        if !self.is_empty() {
            self.change(|all| drop(all.remove(key)));
        }
    }

    /// The full keys with the reasons.
    pub fn all(&self) -> Vec<(String, String)> {
        let full =
            |(key, reason): (&String, &String)| ([&self.prefix, key.as_str()].concat(), reason.clone());
        self.lock().iter().map(full).collect()
    }

    /// Whether an object can be read, as far as it exists.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self, namespace: &str, name: &str) -> Result<(), Status> {
        if self.is_empty() {
            return Ok(());
        }
        match self.lock().get(&*key_of(namespace, name)) {
            Some(reason) => Err(status::internal(reason)),
            None => Ok(()),
        }
    }

    /// Whether all objects can be read, of one namespace or of all.
    ///
    /// # Errors
    /// One cannot.
    pub fn check_all(&self, namespace: Option<&str>) -> Result<(), Status> {
        if self.is_empty() {
            return Ok(());
        }
        let within = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
        match self.lock().iter().find(|(key, _)| key.starts_with(&within)) {
            Some((key, reason)) => {
                Err(status::internal(format!("unable to transform key \"{}{key}\": {reason}", self.prefix)))
            }
            None => Ok(()),
        }
    }
}
