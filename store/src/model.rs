//! The values that the store speaks in: keys, revisions, transactions, listings, events.
//! Plain data without behaviour beyond construction and access.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the store's single, growing history. An empty store is at 1; every transaction that
/// changes something moves it by exactly one. 0 stands for "before everything" and "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before everything; as a precondition: the key does not exist.
    pub const ZERO: Revision = Revision(0);
    /// What an empty store is at.
    pub const FIRST: Revision = Revision(1);

    /// The revision after this one.
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
    /// A key of these characters.
    #[must_use]
    pub fn new(key: impl AsRef<str>) -> Key {
        Key(Arc::from(key.as_ref()))
    }

    /// The characters.
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

/// A key with its value and the revisions that made it what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// The bytes, shared with the store: a clone copies nothing.
    pub value: Bytes,
    /// The revision that created the key (since its last deletion).
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// Writes since creation; 1 for a fresh key.
    pub version: u64,
}

/// What must be true of one key for a transaction to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key exists, whatever its value.
    Exists,
    /// The key was last written at this revision ([`Revision::ZERO`]: it does not exist).
    ModRevision(Revision),
}

/// A precondition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key looked at.
    pub key: Key,
    /// What must hold.
    pub condition: Condition,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets the key to the value. Writing the value it has already is a write like any other.
    Put {
        /// The key.
        key: Key,
        /// The bytes.
        value: Bytes,
    },
    /// Removes the key. Removing an absent key changes nothing and is no error.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Op {
    /// The key that this operation writes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// All-or-nothing: if every comparison holds, every operation is carried out at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is done then. No key may appear twice.
    pub ops: Vec<Op>,
}

impl Txn {
    /// An empty transaction, to be filled by the methods below.
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

    /// Adds a write.
    #[must_use]
    pub fn put(mut self, key: Key, value: Bytes) -> Txn {
        self.ops.push(Op::Put { key, value });
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Txn {
        self.ops.push(Op::Delete { key });
        self
    }
}

/// What became of a transaction. A conflict is an answer, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Carried out, durable and visible. `revision` is the one its writes share, or the store's
    /// current one if there was nothing to change.
    Committed {
        /// The revision of the writes.
        revision: Revision,
    },
    /// A comparison did not hold; nothing was changed.
    Conflict {
        /// What the compared keys hold instead, in the order of the comparisons.
        current: Vec<(Key, Option<KeyValue>)>,
        /// The revision at which that was so.
        revision: Revision,
    },
}

impl TxnOutcome {
    /// The revision of the writes, if they were carried out.
    #[must_use]
    pub fn committed(&self) -> Option<Revision> {
        match self {
            TxnOutcome::Committed { revision } => Some(*revision),
            TxnOutcome::Conflict { .. } => None,
        }
    }

    /// After a conflict: what `key` holds. `None` also if the key was not compared.
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

/// One key, and when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetResult {
    /// The key's value, if it exists.
    pub kv: Option<KeyValue>,
    /// The store's revision at the time of reading.
    pub revision: Revision,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Keys that begin with these characters; empty means all. It is no path: end it with a slash
    /// where `/a/b` must not find `/a/bc`.
    pub prefix: String,
    /// Only keys after this one (exclusive), for the next page.
    pub start_after: Option<Key>,
    /// At most so many; 0 means all.
    pub limit: usize,
    /// The state at this revision; `None` means the newest.
    pub at: Option<Revision>,
}

impl ListRequest {
    /// Everything under the prefix, newest state, no limit.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> ListRequest {
        ListRequest { prefix: prefix.into(), ..ListRequest::default() }
    }
}

/// A page of keys in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keys and their values.
    pub kvs: Vec<KeyValue>,
    /// The revision whose state this is. Ask for it with [`ListRequest::at`] on the next page, or
    /// hand it to `watch` to see everything that came later.
    pub revision: Revision,
    /// Whether the limit cut the page short.
    pub more: bool,
    /// How many keys there are after the last one of this page.
    pub remaining: u64,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was created (`prev` is `None`) or written again.
    Put {
        /// What it is now.
        kv: KeyValue,
        /// What it was.
        prev: Option<KeyValue>,
    },
    /// The key was removed.
    Delete {
        /// The key.
        key: Key,
        /// What it was.
        prev: KeyValue,
        /// The revision of the removal.
        revision: Revision,
    },
}

impl Event {
    /// The key that changed.
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

/// Everything that one transaction changed under a watch's prefix, never split. Without events it
/// is a progress mark: the watch has seen everything up to `revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision of the transaction.
    pub revision: Revision,
    /// The changes, in the order of the transaction's operations; shared between watchers.
    pub events: Arc<[Event]>,
}

impl WatchBatch {
    /// Whether this only says how far the watch has come.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}
