//! The embedded backend, the default: the in-memory index for reads, a log-structured tree (fjall)
//! for durability, and one committer thread between them.
//!
//! A write goes: queue → committer takes all that wait → drafts them in order on the index → one
//! batch to disk, one fdatasync → publishes to readers and watchers → acknowledges. While one group
//! is synced the next one gathers, so throughput grows with the number of writers and one write
//! costs one sync.
//!
//! The whole newest state is in memory and the tree is only read when the store is opened; history
//! is not kept on disk, so after a restart it begins at the revision that the disk has.

mod committer;
mod directory;
mod log;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::contract::validate;
use crate::memory::Published;
use crate::mvcc::Index;
use crate::{Error, GetResult, Key, ListRequest, Listing, Revision, Store, Txn, TxnOutcome, Watch};

use committer::{Committer, QUEUE_MAX, Request};
use directory::Directory;
use log::{FjallLog, Log};

pub use directory::DATA_FORMAT_VERSION;

/// A store in a directory of this machine, owned by one process at a time.
#[derive(Debug)]
pub struct EmbeddedStore {
    published: Arc<Published>,
    /// The way to the committer; `None` only while the store is being dropped.
    queue: Option<mpsc::Sender<Request>>,
    /// Why writes are refused, once one of them could not be made durable.
    poison: Arc<OnceLock<Error>>,
    committer: Option<JoinHandle<()>>,
    /// Holds the lock on the directory; released last.
    _directory: Option<Directory>,
}

impl EmbeddedStore {
    /// Opens the store in this directory, creating it if it is not there.
    ///
    /// Blocks for as long as reading the newest state takes (tens of milliseconds for tens of
    /// thousands of keys). Half-written ends that a crash left are dropped; everything that was
    /// acknowledged is there.
    ///
    /// # Errors
    /// [`Error::DirectoryInUse`], [`Error::NewerFormat`] (both leave the directory as it is),
    /// [`Error::Directory`] and [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<EmbeddedStore, Error> {
        let directory = Directory::open(path)?;
        let (log, kvs, revision) = FjallLog::open(&directory)?;
        Ok(EmbeddedStore::start(Index::load(kvs, revision), Box::new(log), Some(directory)))
    }

    fn start(index: Index, log: Box<dyn Log>, directory: Option<Directory>) -> EmbeddedStore {
        let published = Arc::new(Published::new(index));
        let poison = Arc::new(OnceLock::new());
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let committer = Committer::new(Arc::clone(&published), Arc::clone(&poison), log);
        let committer = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || committer.run(requests))
            .expect("a process that starts up can start a thread");
        EmbeddedStore {
            published,
            queue: Some(queue),
            poison,
            committer: Some(committer),
            _directory: directory,
        }
    }
}

impl Drop for EmbeddedStore {
    /// Ends the committer after what it has taken, so that the directory can be opened again at once.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(committer) = self.committer.take() {
            // A panic of the committer was reported by the panic hook and every writer has seen
            // `Closed`; there is nobody left to tell.
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
        if let Some(reason) = self.poison.get() {
            return Err(reason.clone());
        }
        let queue = self.queue.as_ref().expect("the queue is taken by drop only");
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
}
