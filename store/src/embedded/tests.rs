//! A failing disk, after which the store refuses all writes; and the metrics of commits.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::mvcc::Draft;

/// A log whose disk can be made to fail.
struct FailingLog(Arc<AtomicBool>);

impl Log for FailingLog {
    fn append(&mut self, _: &Draft) -> Result<(), String> {
        match self.0.load(Ordering::SeqCst) {
            true => Err("disk pulled out".to_owned()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_failed_sync_poisons_the_store() {
    let failing = Arc::new(AtomicBool::new(false));
    let log = Box::new(FailingLog(Arc::clone(&failing)));
    let store = EmbeddedStore::start(Index::new(), log, None);
    let key = Key::new("/a");
    let before = store.put(key.clone(), "1".into()).await.unwrap().committed().unwrap();
    let mut watch = store.watch("/", before).await.unwrap();

    failing.store(true, Ordering::SeqCst);
    let error = store.put(key.clone(), "2".into()).await.unwrap_err();
    assert!(matches!(&error, Error::Poisoned { reason } if reason == "disk pulled out"), "{error}");

    failing.store(false, Ordering::SeqCst);
    let error = store.put(key.clone(), "3".into()).await.unwrap_err();
    assert!(matches!(error, Error::Poisoned { .. }), "a recovered disk does not heal the store: {error}");

    let read = store.get(&key).await.unwrap();
    assert_eq!(read.kv.unwrap().value, "1", "what was acknowledged can still be read");
    assert_eq!(read.revision, before);
    drop(store);
    let ending = watch.next_batch().await.expect("the watch says why it ends");
    assert!(matches!(ending, Err(Error::Closed)), "no watcher saw the failed writes: {ending:?}");
}

#[tokio::test]
async fn each_sync_and_its_transactions_are_counted() {
    let log = Box::new(FailingLog(Arc::default()));
    let store = EmbeddedStore::start(Index::new(), log, None);
    for key in ["/a", "/b"] {
        store.put(Key::new(key), "1".into()).await.unwrap();
    }
    // A conflict writes nothing, so that there is nothing to sync.
    store.create(Key::new("/a"), "2".into()).await.unwrap();
    let registry = prometheus::Registry::new();
    for collector in store.collectors() {
        registry.register(collector).unwrap();
    }
    let families = registry.gather();
    let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
    assert_eq!(names, ["catamaran_store_fsync_duration_seconds", "catamaran_store_transactions_total"]);
    assert_eq!(families[0].get_metric()[0].get_histogram().get_sample_count(), 2);
    assert_eq!(families[1].get_metric()[0].get_counter().get_value(), 2.0);
}
