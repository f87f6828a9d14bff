//! The embedded backend, the default: an in-memory index for reads, a log-structured tree (fjall) for durability, and
//! one committer thread between them.
//!
//! The path of a write: queue → the committer takes all queued transactions → evaluates them in order against the index
//! → one batch to disk with one fdatasync → publishes to readers and watchers → acknowledges. While one group is synced
//! the next one gathers (group commit), so throughput grows with the number of writers, and a single write costs one
//! sync.
//!
//! The complete current state is in memory; the tree is read only when the store is opened. The history is not on disk:
//! after a restart it begins at the current revision.

mod committer;
mod directory;
mod log;
mod metrics;
mod room;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::contract::validate;
use crate::memory::Published;
use crate::mvcc::Index;
use crate::{Error, GetResult, Key, KeyValue, ListRequest, Listing, Revision, Store, Txn, TxnOutcome, Watch};

use committer::{Committer, QUEUE_MAX, Request, WriteState};
use directory::Directory;
use log::{FjallLog, Log};
use metrics::CommitMetrics;
use room::Reserve;

pub use directory::DATA_FORMAT_VERSION;

/// A store in a local directory, used by one process at a time.
#[derive(Debug)]
pub struct EmbeddedStore {
    published: Arc<Published>,
    /// The committer's queue; `None` only while the store is being dropped.
    queue: Option<mpsc::Sender<Request>>,
    state: Arc<WriteState>,
    committer: Option<JoinHandle<()>>,
    metrics: CommitMetrics,
    /// Holds the directory's lock; dropped last.
    _directory: Option<Directory>,
}

impl EmbeddedStore {
    /// Opens the store in this directory, creating it if it does not exist.
    ///
    /// Blocks while it reads the current state (tens of milliseconds for tens of thousands of keys). Torn writes after
    /// a crash are dropped; everything acknowledged is there.
    ///
    /// # Errors
    /// [`Error::DirectoryInUse`], [`Error::NewerFormat`] (both leave the directory as it is),
    /// [`Error::Directory`] and [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<EmbeddedStore, Error> {
        let directory = Directory::open(path)?;
        let (log, kvs, revision) = FjallLog::open(&directory)?;
        let reserve = Reserve::open(path).map_err(|error| directory::unusable(path, &error))?;
        let state = WriteState::new(reserve);
        Ok(EmbeddedStore::start(Index::load(kvs, revision), Box::new(log), state, Some(directory)))
    }

    /// Creates a store in an empty directory with these keys, as they were at this revision.
    ///
    /// # Errors
    /// [`Error::Directory`] if the directory is not empty or cannot be written.
    pub fn restore(path: &Path, kvs: &[KeyValue], revision: Revision) -> Result<(), Error> {
        let directory = Directory::open(path)?;
        let (mut log, present, _) = FjallLog::open(&directory)?;
        if !present.is_empty() {
            return Err(Error::Directory {
                path: path.to_owned(),
                reason: "it has a store already".to_owned(),
            });
        }
        let filled = log.fill(kvs, revision);
        filled.map_err(|failure| Error::Directory { path: path.to_owned(), reason: failure.reason })
    }

    fn start(
        index: Index,
        log: Box<dyn Log>,
        state: WriteState,
        directory: Option<Directory>,
    ) -> EmbeddedStore {
        let published = Arc::new(Published::new(index));
        let state = Arc::new(state);
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let metrics = CommitMetrics::new();
        let committer = Committer::new(Arc::clone(&published), Arc::clone(&state), log, metrics.clone());
        let committer = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || committer.run(requests))
            .expect("a process that starts up can start a thread");
        EmbeddedStore {
            published,
            queue: Some(queue),
            state,
            committer: Some(committer),
            metrics,
            _directory: directory,
        }
    }
}

impl Drop for EmbeddedStore {
    /// Stops the committer after the transactions that it has taken, so that the directory can be reopened at once.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(committer) = self.committer.take() {
            // The panic hook has reported a panic of the committer, and every writer has got `Closed`.
            let _ = committer.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn current_revision(&self) -> Result<Revision, Error> {
        Ok(self.published.read(Index::revision))
    }

    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        Ok(self.published.get(key))
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        self.published.read(|index| index.list(&request))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        validate(&txn)?;
        self.state.accepts_writes()?;
        let queue = self.queue.as_ref().expect("invariant: only drop takes the queue");
        let (answer, outcome) = oneshot::channel();
        queue.send(Request { txn, answer }).await.map_err(|_| Error::Closed)?;
        outcome.await.map_err(|_| Error::Closed)?
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.published.watch(prefix, after)
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.published.request_progress();
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.published.compact(revision)
    }

    fn writable(&self) -> Result<(), Error> {
        self.state.accepts_writes()?;
        self.state.accepts_new_keys()
    }

    fn collectors(&self) -> Vec<Box<dyn prometheus::core::Collector>> {
        self.metrics.collectors()
    }
}
