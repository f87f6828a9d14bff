//! The store's values: keys, revisions, transactions, listings, events. Plain data.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A revision of the store. An empty store is at 1; every transaction that changes something increments it by one. 0
/// means "before everything" and "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before everything; as a precondition, the key does not exist.
    pub const ZERO: Revision = Revision(0);
    /// The revision of an empty store.
    pub const FIRST: Revision = Revision(1);

    /// The next revision.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key: UTF-8, ordered by its bytes, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Creates a key.
    #[must_use]
    pub fn new(key: impl AsRef<str>) -> Key {
        Key(Arc::from(key.as_ref()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Key {
        Key::new(key)
    }
}

impl From<String> for Key {
    fn from(key: String) -> Key {
        Key(Arc::from(key))
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key with its value and revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyValue {
    pub key: Key,
    /// Shared with the store: a clone copies nothing.
    pub value: Bytes,
    /// The revision that created the key, since its last deletion.
    pub create_revision: Revision,
    /// The revision of the latest write.
    pub mod_revision: Revision,
    /// The number of writes since creation, from 1.
    pub version: u64,
    /// Why `value` is not the value that was written but its form in the store; see [`crate::TransformedStore`].
    pub unreadable: Option<Arc<Unreadable>>,
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Unreadable {
    pub reason: String,
}

/// A condition on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Condition {
    Absent,
    Exists,
    /// The key was last written at this revision ([`Revision::ZERO`]: it does not exist).
    ModRevision(Revision),
}

/// A precondition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Compare {
    pub key: Key,
    pub condition: Condition,
}

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    /// Sets the value. Writing an equal value is a write too.
    Put { key: Key, value: Bytes },
    /// Deletes the key. Deleting an absent key has no effect and is no error.
    Delete { key: Key },
}

impl Op {
    /// The key of this operation.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// An atomic transaction: if every precondition holds, all operations are applied at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Txn {
    pub compares: Vec<Compare>,
    /// No key may appear twice.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Creates an empty transaction.
    #[must_use]
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Adds a precondition.
    #[must_use]
    pub fn when(mut self, key: Key, condition: Condition) -> Txn {
        self.compares.push(Compare { key, condition });
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: Key, value: Bytes) -> Txn {
        self.ops.push(Op::Put { key, value });
        self
    }

    /// Adds a deletion.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Txn {
        self.ops.push(Op::Delete { key });
        self
    }
}

/// The outcome of a transaction. A conflict is an outcome, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TxnOutcome {
    /// Committed: durable and visible. `revision` is the revision of its writes, or the current one if it had no
    /// effect.
    Committed { revision: Revision },
    /// A precondition did not hold; nothing changed.
    Conflict {
        /// The current values of the compared keys, in order of the comparisons.
        current: Vec<(Key, Option<KeyValue>)>,
        /// The store's revision at that time.
        revision: Revision,
    },
}

impl TxnOutcome {
    /// The revision, if it was committed.
    #[must_use]
    pub fn committed(&self) -> Option<Revision> {
        match self {
            TxnOutcome::Committed { revision } => Some(*revision),
            TxnOutcome::Conflict { .. } => None,
        }
    }

    /// The current value of `key` after a conflict. `None` also if the key was not compared.
    #[must_use]
    pub fn current_of(&self, key: &Key) -> Option<&KeyValue> {
        match self {
            TxnOutcome::Committed { .. } => None,
            TxnOutcome::Conflict { current, .. } => {
                current.iter().find(|(compared, _)| compared == key).and_then(|(_, kv)| kv.as_ref())
            }
        }
    }
}

/// The result of a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetResult {
    /// `None` if the key does not exist.
    pub kv: Option<KeyValue>,
    /// The store's revision at the time of the read.
    pub revision: Revision,
}

/// A list request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// A string prefix; empty means all keys. End it with a slash if `/a/b` must not match `/a/bc`.
    pub prefix: String,
    /// Only keys after this one (exclusive), for paging.
    pub start_after: Option<Key>,
    /// Most keys to return; 0 means all.
    pub limit: usize,
    /// The revision to read at; `None` means the current one.
    pub at: Option<Revision>,
}

impl ListRequest {
    /// Lists everything with the prefix at the current revision, without a limit.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> ListRequest {
        ListRequest { prefix: prefix.into(), ..ListRequest::default() }
    }
}

/// A page of keys in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Listing {
    pub kvs: Vec<KeyValue>,
    /// The revision of this state. Pass it as [`ListRequest::at`] for the next page, or to `watch` for later changes.
    pub revision: Revision,
    /// Whether there are more keys.
    pub more: bool,
    /// How many keys follow the last one of this page.
    pub remaining: u64,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    /// The key was created (`prev` is `None`) or written.
    Put { kv: KeyValue, prev: Option<KeyValue> },
    /// The key was deleted.
    Delete {
        key: Key,
        prev: KeyValue,
        /// The revision of the deletion.
        revision: Revision,
    },
}

impl Event {
    /// The changed key.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Event::Put { kv, .. } => &kv.key,
            Event::Delete { key, .. } => key,
        }
    }

    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Event::Put { kv, .. } => kv.mod_revision,
            Event::Delete { revision, .. } => *revision,
        }
    }
}

/// All changes of one transaction under a watch's prefix. Without events it is a progress notification: the watch has
/// delivered everything up to `revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WatchBatch {
    pub revision: Revision,
    /// The changes in order of the transaction's operations; shared between watchers.
    pub events: Arc<[Event]>,
}

impl WatchBatch {
    /// Whether this is a progress notification.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}
