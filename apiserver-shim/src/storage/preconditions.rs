//! What a write's transaction must find, and what it writes beside its object.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use shim_model::object::StoredObject;
use store::{Condition, Key, Revision, Txn};

use crate::storage::catalog::ServedResource;
use crate::storage::object::{Object, encoded};

/// Conditions and further writes of one transaction. If a condition does not hold nothing is written, and the request is
/// carried out again from its beginning, admission included.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    /// Keys that must not exist and are created with the store key of the object as their value.
    claims: Vec<Key>,
    /// Keys that are removed.
    releases: Vec<Key>,
    /// Keys that must not have been written since the revision they were read at; 0: that must not exist.
    unchanged: Vec<(Key, u64)>,
    /// Further objects, each with its own condition among `unchanged`.
    objects: Vec<(Key, Arc<StoredObject>)>,
}

impl Preconditions {
    /// Claims a key, such as an address: it must be free, and is the object's from the write on.
    pub fn claim(&mut self, key: Key) {
        if !self.claims.contains(&key) {
            self.claims.push(key);
        }
    }

    /// Gives a claimed key back.
    pub fn release(&mut self, key: Key) {
        if !self.releases.contains(&key) {
            self.releases.push(key);
        }
    }

    /// The object must still be as it was read.
    pub fn require_unchanged(&mut self, resource: &ServedResource, object: &Object) {
        let key = resource.key(object.namespace(), object.name());
        self.require_revision(key, object.revision);
    }

    /// The key must still be at this revision.
    pub fn require_revision(&mut self, key: Key, revision: u64) {
        match self.unchanged.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = revision,
            None => self.unchanged.push((key, revision)),
        }
    }

    /// Writes `value` in place of another object, which must still be as it was read. The last value for an object counts,
    /// so that a plugin that runs twice replaces what it wanted first.
    pub fn update(&mut self, resource: &ServedResource, read: &Object, value: &Value) {
        let key = resource.key(read.namespace(), read.name());
        self.put(key, read.revision, encoded(value));
    }

    /// Creates another object, which must not exist.
    pub fn create(&mut self, resource: &ServedResource, value: &Value) {
        let stored = encoded(value);
        let key = resource.key(&stored.header.namespace, &stored.header.name);
        self.put(key, 0, stored);
    }

    /// Adds an encoded object under a key whose condition is `revision` (0: it must not exist).
    pub(crate) fn put(&mut self, key: Key, revision: u64, stored: StoredObject) {
        let stored = Arc::new(stored);
        match self.objects.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = stored,
            None => self.objects.push((key.clone(), stored)),
        }
        self.require_revision(key, revision);
    }

    /// Takes over all of another's.
    pub fn extend(&mut self, other: Preconditions) {
        other.claims.into_iter().for_each(|key| self.claim(key));
        other.releases.into_iter().for_each(|key| self.release(key));
        other.unchanged.into_iter().for_each(|(key, revision)| self.require_revision(key, revision));
        self.objects.extend(other.objects);
    }

    /// Puts conditions, claims and releases into a transaction; the objects are [`Preconditions::objects`].
    pub(crate) fn add_to(&self, mut txn: Txn, owner: &Key) -> Txn {
        for key in &self.claims {
            let value = Bytes::copy_from_slice(owner.as_str().as_bytes());
            txn = txn.when(key.clone(), Condition::Absent).put(key.clone(), value);
        }
        for key in &self.releases {
            txn = txn.delete(key.clone());
        }
        for (key, revision) in &self.unchanged {
            txn = txn.when(key.clone(), Condition::ModRevision(Revision(*revision)));
        }
        txn
    }

    /// The further objects of the transaction.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<StoredObject>)> {
        self.objects.iter().map(|(key, stored)| (key, stored))
    }

    /// The first condition that does not hold, given what the store has under the compared keys.
    pub(crate) fn broken<'s>(&self, revision_of: impl Fn(&Key) -> Option<u64> + 's) -> Option<Key> {
        let taken = self.claims.iter().find(|key| revision_of(key).is_some());
        let moved = || {
            let is_moved = |(key, revision): &&(Key, u64)| revision_of(key).unwrap_or(0) != *revision;
            self.unchanged.iter().find(is_moved).map(|(key, _)| key)
        };
        taken.or_else(moved).cloned()
    }
}
