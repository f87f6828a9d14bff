//! Ordered keys with revisions: the ground under the Kubernetes facade (objects) and under the
//! kernel (its registry).
//!
//! The contract is the [`Store`] trait, whose documentation is the law; the values it speaks in are
//! in [`model`](Key). Three backends keep the law and pass one suite (`tests/suite`):
//!
//! * [`MemoryStore`]: the model. Everything is in memory and is gone with the process.
//! * [`EmbeddedStore`]: the default. Reads come from the same in-memory index; writes are grouped,
//!   synced to disk and only then seen by anybody.
//! * [`EtcdStore`]: etcd does the work, so that several servers can share one store.
//!
//! This crate knows no Kubernetes kind and no Mesos noun.
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
mod watch;

pub use contract::Store;
pub use embedded::{DATA_FORMAT_VERSION, EmbeddedStore};
pub use error::StoreError as Error;
pub use etcd::{EtcdConfig, EtcdStore};
pub use memory::MemoryStore;
pub use model::{
    Compare, Condition, Event, GetResult, Key, KeyValue, ListRequest, Listing, Op, Revision, Txn, TxnOutcome,
    WatchBatch,
};
pub use mvcc::{HISTORY_AGE_MAX, HISTORY_BYTES_MAX, HISTORY_REVISIONS_MAX};
pub use watch::{WATCH_QUEUE_BATCHES_MAX, Watch};

/// Most operations that one transaction may carry (etcd's default, so that all backends agree).
pub const TXN_OPS_MAX: usize = 128;

/// Most bytes of keys and values that one transaction may carry. etcd refuses requests above
/// 1.5 MiB by default; the 16 KiB below it are left for the message around them.
pub const TXN_BYTES_MAX: usize = 1536 * 1024 - 16 * 1024;
