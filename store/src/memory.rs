//! The memory backend: the index, a lock and the watchers. It is the model that other backends are tested against, and
//! the store of tests.

use std::sync::RwLock;
use std::time::Instant;

use async_trait::async_trait;

use crate::contract::validate;
use crate::mvcc::{Draft, Index};
use crate::watch::Hub;
use crate::{Error, GetResult, Key, ListRequest, Listing, Revision, Store, Txn, TxnOutcome, Watch};

/// An in-memory store.
#[derive(Debug)]
pub struct MemoryStore {
    published: Published,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore { published: Published::new(Index::new()) }
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
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
        let evaluate = |index: &Index| {
            let mut draft = Draft::on(index);
            let outcome = draft.evaluate(index, txn);
            (draft, outcome)
        };
        Ok(self.published.write(evaluate))
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

/// The published index with its watchers. Shared with the embedded backend.
///
/// Lock order: hub, then index. Readers take only the index's lock, so delivering batches to watchers does not block
/// readers.
#[derive(Debug)]
pub(crate) struct Published {
    index: RwLock<Index>,
    hub: Hub,
    start: Instant,
}

impl Published {
    pub(crate) fn new(index: Index) -> Published {
        Published { index: RwLock::new(index), hub: Hub::default(), start: Instant::now() }
    }

    pub(crate) fn read<T>(&self, body: impl FnOnce(&Index) -> T) -> T {
        body(&self.index.read().expect("invariant: no panic under the index's lock"))
    }

    pub(crate) fn get(&self, key: &Key) -> GetResult {
        self.read(|index| GetResult { kv: index.get(key).cloned(), revision: index.revision() })
    }

    /// Publishes a draft. Only one caller may be between evaluating and publishing.
    pub(crate) fn publish(&self, draft: Draft) {
        self.write(|_| (draft, ()));
    }

    /// Evaluates and publishes in one step.
    fn write<T>(&self, body: impl FnOnce(&Index) -> (Draft, T)) -> T {
        self.hub.with(|watchers| {
            let (batches, answer) = {
                let mut index = self.index.write().expect("invariant: no panic under the index's lock");
                let (draft, answer) = body(&index);
                (index.apply(draft, self.start.elapsed()), answer)
            };
            if !batches.is_empty() {
                watchers.publish(&batches);
            }
            answer
        })
    }

    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.hub.with(|watchers| {
            let backlog = self.read(|index| index.changes(prefix, after))?;
            Ok(watchers.add(prefix, after, backlog))
        })
    }

    pub(crate) fn request_progress(&self) {
        self.hub.with(|watchers| watchers.publish_progress(self.read(Index::revision)));
    }

    pub(crate) fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.index.write().expect("invariant: no panic under the index's lock").compact(revision)
    }
}
