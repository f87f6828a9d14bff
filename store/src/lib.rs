//! An ordered key-value store with revisions, for the API server (objects) and the kernel (its registry).
//!
//! The contract is the [`Store`] trait; its values are in [`model`](Key). Three backends fulfil it and pass one suite
//! (`tests/suite`):
//!
//! * [`MemoryStore`]: the model. Everything is in memory and ends with the process.
//! * [`EmbeddedStore`]: the default. Reads use the same in-memory index; writes are grouped, synced to disk and only then
//!   published.
//! * [`EtcdStore`]: etcd, so that several servers can share one store.
//!
//! [`TransformedStore`] keeps the values of any of them in another form, such as encrypted.
//!
//! This crate knows neither Kubernetes kinds nor Mesos messages.
//!
//! ```
//! # async fn demo() -> Result<(), store::Error> {
//! use std::sync::Arc;
//! use store::{Key, ListRequest, MemoryStore, Store};
//!
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! let outcome = store.create(Key::new("/registry/core/pods/a/web"), "{}".into()).await?;
//! let written = outcome.committed().expect("the key was free");
//!
//! let listing = store.list(ListRequest::prefix("/registry/core/pods/")).await?;
//! let mut watch = store.watch("/registry/core/pods/", listing.revision).await?;
//! store.put(Key::new("/registry/core/pods/a/web"), "{\"a\":1}".into()).await?;
//! let batch = watch.next_batch().await.expect("the store lives")?;
//! assert!(batch.revision > written);
//! # Ok(())
//! # }
//! ```

mod contract;
mod embedded;
mod error;
mod etcd;
mod memory;
mod model;
mod mvcc;
mod transform;
mod watch;

pub use contract::Store;
pub use embedded::{DATA_FORMAT_VERSION, EmbeddedStore};
pub use error::StoreError as Error;
pub use etcd::{EtcdConfig, EtcdStore};
pub use memory::MemoryStore;
pub use model::{
    Compare, Condition, Event, GetResult, Key, KeyValue, ListRequest, Listing, Op, Revision, Txn, TxnOutcome,
    Unreadable, WatchBatch,
};
pub use mvcc::{HISTORY_AGE_MAX, HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX};
pub use transform::{TransformedStore, ValueTransformer};
pub use watch::{WATCH_QUEUE_BATCHES_MAX, Watch};

/// Most operations per transaction (etcd's default, so that all backends agree).
pub const TXN_OPS_MAX: usize = 128;

/// Most bytes of keys and values per transaction. etcd refuses requests above 1.5 MiB by default; 16 KiB are reserved
/// for the rest of the message.
pub const TXN_BYTES_MAX: usize = 1536 * 1024 - 16 * 1024;

/// The longest key. The embedded store's log takes 65,535 bytes; etcd has no limit of its own.
pub const KEY_BYTES_MAX: usize = 32 * 1024;
