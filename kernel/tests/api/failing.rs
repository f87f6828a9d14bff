//! A store that takes no writes for a while does not end the master; one that is closed does.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use kernel_model::agent::ToAgent;
use serde_json::{Value, json};
use store::{
    Error, GetResult, Key, ListRequest, Listing, MemoryStore, Revision, Store, Txn, TxnOutcome, Watch,
};
use tokio::time::timeout;

use crate::{
    client::{Framework, TIMEOUT, get, send},
    fake_agent, master_on,
};

const WORKS: u8 = 0;
const FULL: u8 = 1;
const SUSPENDED: u8 = 2;
const UNREACHABLE: u8 = 3;
const CLOSED: u8 = 4;

/// A store whose writes can be made to fail.
struct Flaky {
    inner: MemoryStore,
    state: AtomicU8,
}

impl Flaky {
    fn new(state: u8) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), state: AtomicU8::new(state) })
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        let reason = "injected".to_owned();
        match self.state.load(Ordering::SeqCst) {
            FULL => Err(Error::NoSpace { reason }),
            SUSPENDED => Err(Error::Suspended { reason }),
            UNREACHABLE => Err(Error::Unavailable { reason }),
            CLOSED => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Flaky {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.inner.current_revision().await
    }

    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        self.inner.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        self.inner.list(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.check()?;
        self.inner.txn(txn).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.inner.watch(prefix, after).await
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.inner.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }
}

#[tokio::test]
async fn a_store_without_writes_refuses_operators_and_nothing_else() {
    for fault in [FULL, SUSPENDED, UNREACHABLE] {
        let store = Flaky::new(fault);
        let master = master_on(store.clone()).await;
        let address = master.mesos_address();
        let mut watch = store.watch("/kernel/registry/agents/", Revision::FIRST).await.expect("a watch");
        // Registering an agent is a write.
        let mut agent = fake_agent::start(master.attach_agent(), "one").await;
        let registered = |message| matches!(message, ToAgent::Registered { .. }).then_some(());
        fake_agent::next_message(&mut agent, registered).await;
        let mut framework = Framework::subscribe(address, json!({"role": "r"})).await;
        framework.events.event_of("OFFERS").await;
        let weights = br#"[{"role": "r", "weight": 2.5}]"#;
        let put = async || send(address, "PUT /weights HTTP/1.1", weights).await;
        let refused = put().await;
        assert_eq!(refused.status, 503);
        assert!(refused.text().await.starts_with("The registry cannot be written: "));
        assert_eq!(get(address, "/weights").await.text().await, "[]", "what is refused is not done");

        store.set(WORKS);
        timeout(TIMEOUT, watch.next_batch())
            .await
            .expect("the agent is written later")
            .expect("the store lives")
            .expect("no error");
        let mut status = put().await.status;
        while status == 503 {
            status = put().await.status;
        }
        assert_eq!(status, 200);
        let weights: Value =
            serde_json::from_str(&get(address, "/weights").await.text().await).expect("JSON");
        assert_eq!(weights[0]["weight"], 2.5);
        timeout(TIMEOUT, master.shutdown()).await.expect("a stop waits for nothing");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_store_without_writes() {
    let master = master_on(Flaky::new(SUSPENDED)).await;
    let _told = fake_agent::start(master.attach_agent(), "one").await;
    timeout(TIMEOUT, master.shutdown()).await.expect("a stop waits for nothing");
}

#[tokio::test]
async fn a_master_whose_store_is_closed_reports_it_and_ends() {
    let mut master = master_on(Flaky::new(CLOSED)).await;
    let _told = fake_agent::start(master.attach_agent(), "one").await;
    let why = timeout(TIMEOUT, master.failed()).await.expect("the master ends");
    assert!(why.contains("store is closed"), "{why}");
    timeout(TIMEOUT, master.shutdown()).await.expect("there is nothing to wait for");
}
