//! The store's contract. What is written on the methods here is what every backend does and what
//! `tests/suite` checks; a caller needs to know nothing else.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Condition, Error, GetResult, Key, ListRequest, Listing, Revision, TXN_BYTES_MAX, TXN_OPS_MAX, Txn,
    TxnOutcome, Watch,
};

/// Ordered keys with revisions, held as `Arc<dyn Store>`.
///
/// The laws that hold across methods:
///
/// * **One history.** Transactions happen one after the other. Each one that changes something
///   moves the revision by exactly one and its writes share the new one.
/// * **Durable before visible.** Nobody, neither the writer nor a reader nor a watcher, sees a write
///   that a crash could still undo (the memory backend has nothing to survive a crash).
/// * **Own writes are seen.** Once a write is acknowledged, every later read at `None` sees it.
/// * **Cancellation.** A write whose future is dropped may or may not happen; reads can be dropped.
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest revision. Everything acknowledged before the call has a revision up to it.
    async fn current_revision(&self) -> Result<Revision, Error>;

    /// Reads one key in its newest state.
    async fn get(&self, key: &Key) -> Result<GetResult, Error>;

    /// Reads keys in order.
    ///
    /// With `at`, the state as it was at that revision: [`Error::Compacted`] if it is older than the
    /// history (the floor itself can be read), [`Error::FutureRevision`] if it has not been yet.
    /// Paging with `start_after` at the first page's revision gives one consistent listing.
    /// [`Revision::ZERO`] is in no history: it is always compacted, here and for `watch`.
    async fn list(&self, request: ListRequest) -> Result<Listing, Error>;

    /// Carries out a transaction.
    ///
    /// If every comparison holds, all operations are applied in order at one new revision and the
    /// answer comes when that is durable and visible. If one does not, nothing is changed and the
    /// answer tells what the compared keys hold. Without a change (no operations, or only removals
    /// of absent keys) the revision stays and the current one is answered.
    ///
    /// [`Error::InvalidTxn`] for a key that is empty or written twice or for more than [`TXN_OPS_MAX`]
    /// operations or comparisons, [`Error::TooLarge`] above [`TXN_BYTES_MAX`]: nothing is changed. After
    /// [`Error::Unavailable`], [`Error::Poisoned`] or [`Error::Closed`] the outcome is not known.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Watches the keys that begin with `prefix`, from the first change *after* the revision
    /// `after` (exclusive): hand it a listing's revision to miss nothing and see nothing twice.
    /// A revision in the future is allowed: the watch is silent until it has passed.
    ///
    /// Batches come in the order of revisions, one for each transaction that changed something under
    /// the prefix, and hold all of that transaction's changes there. Each event has what the key
    /// held before. The watch ends by an error and nothing after it: [`Error::Compacted`] (also at
    /// once, if `after` is below the floor), [`Error::WatcherTooSlow`] if the reader falls behind by
    /// more than the bounded queue (etcd keeps the batches for it until they are compacted),
    /// [`Error::Closed`]. Dropping the watch frees everything it held.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// Asks that every open watch tells how far it has come: each will deliver a batch at or beyond
    /// the revision that was current at this call, after all batches up to it: one without events
    /// ([`crate::WatchBatch::is_progress`]) if there is no other. Progress may also come unasked.
    /// In etcd this is a write, so ask only when something waits for it.
    async fn request_progress(&self) -> Result<(), Error>;

    /// Forgets the history before `revision`: afterwards reads at, and watches from, anything
    /// older answer [`Error::Compacted`]. The newest state is not touched. Compacting what is
    /// compacted already does nothing; [`Error::FutureRevision`] beyond the current revision.
    /// Backends also compact on their own, so that history is always bounded.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// Creates the key; a conflict if it exists.
    async fn create(&self, key: Key, value: Bytes) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::Absent).put(key, value)).await
    }

    /// Writes the key whatever it holds.
    async fn put(&self, key: Key, value: Bytes) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().put(key, value)).await
    }

    /// Writes the key if it was last written at `expected`; a conflict otherwise.
    async fn update(&self, key: Key, value: Bytes, expected: Revision) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::ModRevision(expected)).put(key, value)).await
    }

    /// Removes the key if it was last written at `expected`; a conflict otherwise.
    async fn delete(&self, key: Key, expected: Revision) -> Result<TxnOutcome, Error> {
        self.txn(Txn::new().when(key.clone(), Condition::ModRevision(expected)).delete(key)).await
    }
}

/// Refuses what no backend may carry out.
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
