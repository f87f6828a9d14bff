//! The errors of stores. One enum for all backends, so that callers map it once.

use std::path::PathBuf;

use crate::Revision;

/// An error of a store.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    /// The requested revision was compacted. List again and watch from there (the API server answers 410 Gone).
    #[error("revision {requested} is gone: history can be read from {floor} on")]
    Compacted {
        requested: Revision,
        /// The oldest readable revision, if the backend knows it.
        floor: Revision,
    },
    /// A read at a future revision.
    #[error("revision {requested} is in the future: the store is at {current}")]
    FutureRevision { requested: Revision, current: Revision },
    /// The watcher was too slow and was dropped. List again and watch from there.
    #[error("watcher was too slow and has been dropped")]
    WatcherTooSlow,
    /// The transaction is invalid.
    #[error("invalid transaction: {reason}")]
    InvalidTxn { reason: String },
    /// Keys and values together exceed the limit.
    #[error("transaction of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// A write could not be made durable. The store takes no writes until it has opened its log again and has found there
    /// what it has in memory. It is unknown whether the failed write is on disk.
    #[error("store takes no writes since one could not be made durable: {reason}")]
    Suspended { reason: String },
    /// The file system has too little room for new keys; nothing changes. Deletions are still possible.
    #[error("no space left for new objects: {reason}")]
    NoSpace { reason: String },
    /// The backend cannot be reached or did not answer in time. It is unknown whether a write was committed.
    #[error("store is unavailable: {reason}")]
    Unavailable { reason: String },
    #[error("store is closed")]
    Closed,
    /// Another process has locked the data directory.
    #[error("data directory {path} is in use by another process")]
    DirectoryInUse { path: PathBuf },
    /// The data directory was written by a newer version of this program. It is unchanged.
    #[error("data directory {path} has format {found}, this program reads up to {supported}")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    /// The data directory cannot be opened, read or written.
    #[error("data directory {path} cannot be used: {reason}")]
    Directory { path: PathBuf, reason: String },
    /// Stored data does not decode.
    #[error("stored data is damaged: {reason}")]
    Damaged { reason: String },
    /// A value could not be brought into the form in which it is kept; nothing changes.
    #[error("{reason}")]
    Transformation { reason: String },
    /// The backend's configuration is invalid.
    #[error("invalid store configuration: {reason}")]
    Configuration { reason: String },
}
