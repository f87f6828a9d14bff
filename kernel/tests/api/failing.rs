//! A master whose registry takes no writes reports that to its owner.

use std::sync::Arc;

use async_trait::async_trait;
use store::{
    Error, GetResult, Key, ListRequest, Listing, MemoryStore, Revision, Store, Txn, TxnOutcome, Watch,
};
use tokio::time::timeout;

use crate::{client::TIMEOUT, fake_agent, master_on};

/// A store that reads but does not write, like a full disk.
struct ReadOnly(MemoryStore);

#[async_trait]
impl Store for ReadOnly {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.0.current_revision().await
    }

    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        self.0.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        self.0.list(request).await
    }

    async fn txn(&self, _: Txn) -> Result<TxnOutcome, Error> {
        Err(Error::Suspended { reason: "the disk is full".into() })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.0.watch(prefix, after).await
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.0.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.0.compact(revision).await
    }
}

#[tokio::test]
async fn a_master_that_cannot_write_reports_it_and_ends() {
    let mut master = master_on(Arc::new(ReadOnly(MemoryStore::new()))).await;
    // Registering an agent is a write.
    let _told = fake_agent::start(master.attach_agent(), "one").await;
    let why = timeout(TIMEOUT, master.failed()).await.expect("the master ends");
    assert!(why.contains("the disk is full"), "{why}");
    timeout(TIMEOUT, master.shutdown()).await.expect("there is nothing to wait for");
}
