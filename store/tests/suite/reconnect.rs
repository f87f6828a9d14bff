//! etcd restarts: writers get errors, watches resume.

use store::{Error, EtcdConfig, EtcdStore, Key, Store};

use crate::etcd_process::EtcdProcess;
use crate::laws::TIMEOUT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_the_restart_of_etcd() {
    let mut etcd = EtcdProcess::start().await;
    let config = EtcdConfig::new(&etcd.endpoint(), EtcdConfig::DEFAULT_KEY_PREFIX).unwrap();
    let store = EtcdStore::open(config).await.unwrap();
    let start = store.current_revision().await.unwrap();
    let mut watch = store.watch("/", start).await.unwrap();
    let mut revisions = Vec::new();
    for round in 0..3 {
        let outcome = store.put(Key::new("/a"), round.to_string().into()).await;
        revisions.push(outcome.unwrap().committed().unwrap());
        if round < 2 {
            etcd.kill();
            etcd.restart().await;
        }
    }
    for revision in revisions {
        let next = tokio::time::timeout(TIMEOUT, watch.next_batch()).await;
        assert_eq!(next.expect("the watch comes back").unwrap().unwrap().revision, revision);
    }
    drop(store);
    let ending = tokio::time::timeout(TIMEOUT, watch.next_batch()).await;
    assert!(matches!(ending.unwrap(), Some(Err(Error::Closed))), "the watch ends with the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_share_one_etcd() {
    let etcd = EtcdProcess::start().await;
    let open = |prefix| EtcdStore::open(EtcdConfig::new(&etcd.endpoint(), prefix).unwrap());
    let (one, other) = (open("/one").await.unwrap(), open("/one2").await.unwrap());
    one.create(Key::new("/a"), "1".into()).await.unwrap();
    assert!(other.create(Key::new("/a"), "2".into()).await.unwrap().committed().is_some());
    assert_eq!(other.list(Default::default()).await.unwrap().kvs.len(), 1);
    assert_eq!(one.list(Default::default()).await.unwrap().kvs.len(), 1, "no prefix holds the other");
    assert_eq!(one.get(&Key::new("/a")).await.unwrap().kv.unwrap().value, "1");
}
