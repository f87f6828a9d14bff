//! The store's contract. The documentation of the methods states what every backend does and what `tests/suite` checks;
//! callers need nothing else.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Condition, Error, GetResult, KEY_BYTES_MAX, Key, ListRequest, Listing, Revision, TXN_BYTES_MAX,
    TXN_OPS_MAX, Txn, TxnOutcome, Watch,
};

/// An ordered key-value store with revisions, used as `Arc<dyn Store>`.
///
/// Guarantees across methods:
///
/// * **One history.** Transactions are serialised. Each one with an effect increments the revision by one, and its writes
///   share the new revision.
/// * **Durable before visible.** Neither the writer nor a reader nor a watcher sees a write that a crash could still undo
///   (the memory backend does not survive crashes at all).
/// * **Read your writes.** Once a write is acknowledged, every later read at `None` sees it.
/// * **Cancellation.** A write whose future is dropped may or may not be committed; reads can be dropped.
#[async_trait]
pub trait Store: Send + Sync {
    /// The current revision. Everything acknowledged before the call is at or below it.
    async fn current_revision(&self) -> Result<Revision, Error>;

    /// Reads the current state of a key.
    async fn get(&self, key: &Key) -> Result<GetResult, Error>;

    /// Reads keys in order.
    ///
    /// With `at`, returns the state at that revision: [`Error::Compacted`] if it is older than the history (the floor
    /// itself is readable), [`Error::FutureRevision`] if it is later than the current one. Paging with `start_after` at
    /// the first page's revision gives a consistent listing. [`Revision::ZERO`] is always compacted, here and in
    /// `watch`.
    async fn list(&self, request: ListRequest) -> Result<Listing, Error>;

    /// Commits a transaction.
    ///
    /// If every comparison holds, all operations are applied in order at one new revision, and the call returns when
    /// the writes are durable and visible. Otherwise nothing changes, and the outcome holds the current values of the
    /// compared keys. A transaction without effect (no operations, or only deletions of absent keys) keeps the revision
    /// and returns the current one.
    ///
    /// [`Error::InvalidTxn`] for a key that is empty, longer than [`KEY_BYTES_MAX`] or written twice, and for more than
    /// [`TXN_OPS_MAX`] operations or comparisons; [`Error::TooLarge`] above [`TXN_BYTES_MAX`]: nothing changes. After
    /// [`Error::Unavailable`], [`Error::Suspended`] or [`Error::Closed`] the outcome is unknown. [`Error::NoSpace`] refuses a
    /// transaction that creates a key, and any other one while nothing at all can be written: nothing changes.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Watches the keys with this prefix, from the first change *after* the revision `after` (exclusive): with the
    /// revision of a listing, the watch misses nothing and repeats nothing. A future revision is allowed: the watch
    /// delivers nothing until it has passed.
    ///
    /// Batches arrive in order of revision, one per transaction that changed keys with the prefix, with all its changes
    /// to them. Each event has the previous value of its key. The watch ends with an error, and nothing follows it:
    /// [`Error::Compacted`] (also at once, if `after` is below the floor), [`Error::WatcherTooSlow`] if the reader
    /// exceeds the bounded queue (etcd keeps the batches until they are compacted), [`Error::Closed`]. Dropping the
    /// watch frees its resources.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// Requests progress from every open watch: each delivers a batch at or after the current revision, after all
    /// batches up to it. The batch has no events ([`crate::WatchBatch::is_progress`]) if there is no other. Progress
    /// can also be delivered without a request. In etcd this is a write, so call it only when something waits for it.
    async fn request_progress(&self) -> Result<(), Error>;

    /// Compacts the history before `revision`: older reads and watches return [`Error::Compacted`]. The current state
    /// is unchanged. Compacting what is compacted already has no effect; a future revision is
    /// [`Error::FutureRevision`]. Backends also compact on their own, so the history is always bounded.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Whether the store takes writes, new keys included; the error says why not.
    fn writable(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Metrics of this backend, for the server that runs it to register.
    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        Vec::new()
    }

    /// Whether a write of the same value would be kept in another form than the present one. Only a
    /// [`crate::TransformedStore`] has such values.
    async fn is_stale(&self, _key: &Key) -> Result<bool, Error> {
        Ok(false)
    }

    /// Counts the changes after which values that could not be read may be readable.
    fn transformations(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Creates a key; a conflict if it exists.
    async fn create(&self, key: Key, value: Bytes) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::Absent).put(key, value)).await
    }

    /// Writes a key unconditionally.
    async fn put(&self, key: Key, value: Bytes) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().put(key, value)).await
    }

    /// Writes a key if it was last written at `expected`; otherwise a conflict.
    async fn update(&self, key: Key, value: Bytes, expected: Revision) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::ModRevision(expected)).put(key, value)).await
    }

    /// Deletes a key if it was last written at `expected`; otherwise a conflict.
    async fn delete(&self, key: Key, expected: Revision) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::ModRevision(expected)).delete(key)).await
    }
}

/// Validates a transaction, for all backends.
pub(crate) fn validate(txn: &Txn) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::InvalidTxn { reason });
    let count = txn.ops.len().max(txn.compares.len());
    if count > TXN_OPS_MAX {
        return invalid(format!("{count} operations or comparisons, at most {TXN_OPS_MAX} are allowed"));
    }
    let mut keys: Vec<&Key> = txn.ops.iter().map(crate::Op::key).collect();
    keys.sort_unstable();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return invalid(format!("key {} is written twice", twice[0]));
    }
    let compared = txn.compares.iter().map(|compare| &compare.key);
    let mut bytes = 0;
    for key in keys.iter().copied().chain(compared) {
        if key.as_str().is_empty() {
            return invalid("a key is empty".to_owned());
        }
        if key.as_str().len() > KEY_BYTES_MAX {
            return invalid(format!("a key is longer than {KEY_BYTES_MAX} bytes"));
        }
        bytes += key.as_str().len();
    }
    for op in &txn.ops {
        if let crate::Op::Put { value, .. } = op {
            bytes += value.len();
        }
    }
    if bytes > TXN_BYTES_MAX {
        return Err(Error::TooLarge { bytes, limit: TXN_BYTES_MAX });
    }
    Ok(())
}
