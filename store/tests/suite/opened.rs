//! A backend opened for one test, with what must outlive it.

use std::sync::Arc;

use store::{EmbeddedStore, EtcdConfig, EtcdStore, MemoryStore, Store, TransformedStore};
use tempfile::TempDir;

use crate::etcd_process::EtcdProcess;
use crate::reversed::Reversed;

pub struct Opened {
    store: Arc<dyn Store>,
    _directory: Option<TempDir>,
    _etcd: Option<EtcdProcess>,
}

impl Opened {
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }
}

pub async fn memory() -> Opened {
    Opened { store: Arc::new(MemoryStore::new()), _directory: None, _etcd: None }
}

/// A memory store with values that are kept reversed.
pub async fn transformed() -> Opened {
    let store = TransformedStore::new(Arc::new(MemoryStore::new()), Arc::new(Reversed::default()));
    Opened { store: Arc::new(store), _directory: None, _etcd: None }
}

pub async fn embedded() -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    Opened { store: Arc::new(store), _directory: Some(directory), _etcd: None }
}

pub async fn etcd() -> Opened {
    let etcd = EtcdProcess::start().await;
    let config = EtcdConfig::new(&etcd.endpoint(), "/suite").unwrap();
    let store = EtcdStore::open(config).await.unwrap();
    Opened { store: Arc::new(store), _directory: None, _etcd: Some(etcd) }
}
