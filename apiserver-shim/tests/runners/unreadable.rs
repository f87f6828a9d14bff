//! While a stored object cannot be read, nothing runs that could take it for deleted.

use std::sync::Arc;
use std::time::Duration;

use store::{Key, MemoryStore, Store};

use crate::cluster::{Cluster, deployment, master_options};

#[tokio::test(flavor = "multi_thread")]
async fn controllers_wait_until_all_objects_can_be_read() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let damaged = Key::new("/registry/core/secrets/ns/s");
    store.put(damaged.clone(), "k8s:enc:aescbc:v1:lost:".into()).await.unwrap();
    let cluster = Cluster::start_on(&store, 1, master_options(&store)).await;
    assert_eq!(cluster.registry().unreadable().len(), 1);
    cluster.create("apps", "deployments", "ns", deployment(1)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(cluster.list("apps", "replicasets").is_empty() && cluster.list("", "nodes").is_empty());
    store
        .put(
            damaged,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"ns"}}"#.into(),
        )
        .await
        .unwrap();
    cluster.until("it runs", |cluster| cluster.running() == 1).await;
    assert!(cluster.registry().unreadable().is_empty());
}
