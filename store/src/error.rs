//! What can go wrong in a store. One enum for all backends, so that the layers above map it once.

use std::path::PathBuf;

use crate::Revision;

/// Why the store did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The wanted revision is no longer in the history. List anew and watch from there (the
    /// facade answers 410 Gone).
    #[error("revision {requested} is gone: history can be read from {floor} on")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// A revision that can be read at and watched from: the oldest one, where the backend tells.
        floor: Revision,
    },
    /// A read at a revision that has not been yet.
    #[error("revision {requested} is in the future: the store is at {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// Where the store is.
        current: Revision,
    },
    /// The watcher did not keep up and was dropped. List anew and watch from there.
    #[error("watcher was too slow and has been dropped")]
    WatcherTooSlow,
    /// The transaction itself is wrong.
    #[error("invalid transaction: {reason}")]
    InvalidTxn {
        /// What is wrong with it.
        reason: String,
    },
    /// Keys and values together are over the limit.
    #[error("transaction of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// An earlier write could not be made durable; the store takes no further writes until the
    /// process is started anew. Whether the failed write is on disk is not known.
    #[error("store takes no writes since one could not be made durable: {reason}")]
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// The backend cannot be reached or did not answer in time. Whether a write was carried out is
    /// not known.
    #[error("store is unavailable: {reason}")]
    Unavailable {
        /// What failed.
        reason: String,
    },
    /// The store has been shut down.
    #[error("store is closed")]
    Closed,
    /// Another process has the data directory open.
    #[error("data directory {path} is in use by another process")]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by a newer version of this program. Nothing was changed.
    #[error("data directory {path} has format {found}, this program reads up to {supported}")]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// The format written in it.
        found: u32,
        /// What this program can read.
        supported: u32,
    },
    /// The data directory cannot be opened, read or written.
    #[error("data directory {path} cannot be used: {reason}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// What was read is not what a store writes.
    #[error("stored data is damaged: {reason}")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The backend was configured with something that it cannot use.
    #[error("invalid store configuration: {reason}")]
    Configuration {
        /// What is wrong with it.
        reason: String,
    },
}
