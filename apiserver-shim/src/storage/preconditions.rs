//! Preconditions of a write's transaction, and the additional writes that commit with it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use shim_model::object::StoredObject;
use store::{Condition, Key, Revision, Txn};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::storage::catalog::ServedResource;
use crate::storage::object::{Object, encoded};

/// Conditions and additional writes of one transaction. If a condition fails, nothing is written and the request is
/// retried from the start, admission included.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    /// Keys to create, which must not exist. Their value is the store key of the object.
    claims: Vec<Key>,
    /// Keys to delete.
    releases: Vec<Key>,
    /// Keys with the revision that they must still have; 0 means that the key must not exist.
    unchanged: Vec<(Key, u64)>,
    /// Additional objects to write; the condition of each is in `unchanged`.
    objects: Vec<(Key, Arc<StoredObject>)>,
    /// Held until the attempt to write has ended.
    turn: Option<Arc<OwnedMutexGuard<()>>>,
}

/// A lock for writers that change the same object, so that they take turns instead of conflicting.
pub type Turn = Arc<Mutex<()>>;

impl Preconditions {
    /// Claims a key, such as an IP address, for the object. The key must be free.
    pub fn claim(&mut self, key: Key) {
        if !self.claims.contains(&key) {
            self.claims.push(key);
        }
    }

    /// Releases a claimed key.
    pub fn release(&mut self, key: Key) {
        if !self.releases.contains(&key) {
            self.releases.push(key);
        }
    }

    /// Requires that the object has not changed since it was read.
    pub fn require_unchanged(&mut self, resource: &ServedResource, object: &Object) {
        let key = resource.key(object.namespace(), object.name());
        self.require_revision(key, object.revision);
    }

    /// Requires that the key still has this revision.
    pub fn require_revision(&mut self, key: Key, revision: u64) {
        match self.unchanged.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = revision,
            None => self.unchanged.push((key, revision)),
        }
    }

    /// Replaces another object, which must not have changed since it was read. The last value wins, so that a plugin
    /// that is reinvoked can replace its own change.
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

    /// Writes an encoded object, provided that the key is at `revision` (0: does not exist).
    pub(crate) fn put(&mut self, key: Key, revision: u64, stored: StoredObject) {
        let stored = Arc::new(stored);
        match self.objects.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = stored,
            None => self.objects.push((key.clone(), stored)),
        }
        self.require_revision(key, revision);
    }

    /// Waits for a turn, and holds it until the attempt to write has ended. An attempt holds one turn at most, so that none
    /// waits for another in a circle.
    pub async fn hold(&mut self, turn: &Turn) {
        if self.turn.is_none() {
            self.turn = Some(Arc::new(turn.clone().lock_owned().await));
        }
    }

    /// Ends the turn before the write, which changes nothing that others wait for.
    pub fn release_turn(&mut self) {
        self.turn = None;
    }

    /// Adds the conditions and writes of `other`.
    pub fn extend(&mut self, other: Preconditions) {
        other.claims.into_iter().for_each(|key| self.claim(key));
        other.releases.into_iter().for_each(|key| self.release(key));
        other.unchanged.into_iter().for_each(|(key, revision)| self.require_revision(key, revision));
        self.objects.extend(other.objects);
        self.turn = self.turn.take().or(other.turn);
    }

    /// Adds conditions, claims and releases to a transaction. The caller adds the [`Preconditions::objects`].
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

    /// The additional objects of the transaction.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<StoredObject>)> {
        self.objects.iter().map(|(key, stored)| (key, stored))
    }

    /// The first condition that fails, given the store's revisions of the compared keys.
    pub(crate) fn broken<'s>(&self, revision_of: impl Fn(&Key) -> Option<u64> + 's) -> Option<Key> {
        let taken = self.claims.iter().find(|key| revision_of(key).is_some());
        let moved = || {
            let is_moved = |(key, revision): &&(Key, u64)| revision_of(key).unwrap_or(0) != *revision;
            self.unchanged.iter().find(is_moved).map(|(key, _)| key)
        };
        taken.or_else(moved).cloned()
    }
}
