//! A failing disk: writes are refused until the log is open again and has the published state. A full disk: new keys are
//! refused. And the metrics of commits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::log::Failure;
use super::room::{LowRoom, Room};
use super::*;
use crate::KeyValue;
use crate::mvcc::Draft;

/// What the disk does with the next writes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Works,
    /// Nothing is written.
    IsFull,
    /// Everything is written, but the sync fails.
    FailsToSync,
}

#[derive(Default)]
struct Disk {
    mode: Mode,
    kvs: BTreeMap<Key, KeyValue>,
    revision: Option<Revision>,
    /// How often the log was opened while the disk worked.
    opened: u32,
}

/// A log on a disk in memory, which can be made to fail.
#[derive(Clone, Default)]
struct FakeLog(Arc<Mutex<Disk>>);

impl FakeLog {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn store(&self) -> EmbeddedStore {
        EmbeddedStore::start(Index::new(), Box::new(self.clone()), WriteState::new(FakeRoom::default()), None)
    }
}

impl Log for FakeLog {
    fn append(&mut self, draft: &Draft) -> Result<(), Failure> {
        let mut disk = self.disk();
        if disk.mode == Mode::IsFull {
            return Err(Failure { is_full: true, reason: "disk is full".to_owned() });
        }
        for (key, kv) in draft.writes() {
            match kv {
                Some(kv) => disk.kvs.insert(key.clone(), kv.clone()),
                None => disk.kvs.remove(key),
            };
        }
        disk.revision = Some(draft.revision());
        match disk.mode {
            Mode::FailsToSync => Err(Failure { is_full: false, reason: "disk pulled out".to_owned() }),
            _ => Ok(()),
        }
    }

    fn reopen(&mut self) -> Result<(Vec<KeyValue>, Revision), Error> {
        let mut disk = self.disk();
        match disk.mode {
            Mode::Works => {
                disk.opened += 1;
                Ok((disk.kvs.values().cloned().collect(), disk.revision.unwrap_or(Revision::FIRST)))
            }
            _ => Err(Error::Directory { path: "/disk".into(), reason: "still failing".to_owned() }),
        }
    }
}

/// Room as the test says.
#[derive(Clone, Debug, Default)]
struct FakeRoom(Arc<Mutex<Option<LowRoom>>>);

impl Room for FakeRoom {
    fn check(&self) -> Result<(), LowRoom> {
        self.0.lock().unwrap().map_or(Ok(()), Err)
    }
}

/// Writes until the store takes writes again.
async fn put_when_writable(store: &EmbeddedStore, key: &Key, value: &'static str) -> Revision {
    loop {
        match store.put(key.clone(), value.into()).await {
            Ok(outcome) => return outcome.committed().unwrap(),
            Err(Error::NoSpace { .. } | Error::Suspended { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn writes_resume_when_a_full_disk_has_room_again() {
    let log = FakeLog::default();
    let store = log.store();
    let key = Key::new("/a");
    let before = store.put(key.clone(), "1".into()).await.unwrap().committed().unwrap();
    let mut watch = store.watch("/", before).await.unwrap();

    log.disk().mode = Mode::IsFull;
    let error = store.put(key.clone(), "2".into()).await.unwrap_err();
    assert!(matches!(&error, Error::Suspended { reason } if reason == "disk is full"), "{error}");
    let error = store.put(key.clone(), "3".into()).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(matches!(store.writable(), Err(Error::NoSpace { .. })));
    let read = store.get(&key).await.unwrap();
    assert_eq!(read.kv.unwrap().value, "1", "what was acknowledged can still be read");
    assert_eq!(read.revision, before);

    log.disk().mode = Mode::Works;
    let after = put_when_writable(&store, &key, "4").await;
    assert_eq!(after, before.next(), "the failed write has not happened");
    assert!(store.writable().is_ok());
    let batch = watch.next_batch().await.expect("the watch lives").unwrap();
    assert_eq!(batch.revision, after, "no watcher saw the failed write");
}

#[tokio::test]
async fn a_failed_write_that_is_on_disk_happens_after_all() {
    let log = FakeLog::default();
    let store = log.store();
    let (key, other) = (Key::new("/a"), Key::new("/b"));
    let before = store.put(key.clone(), "1".into()).await.unwrap().committed().unwrap();
    let mut watch = store.watch("/a", before).await.unwrap();

    log.disk().mode = Mode::FailsToSync;
    let error = store.put(key.clone(), "2".into()).await.unwrap_err();
    assert!(matches!(error, Error::Suspended { .. }), "{error}");

    log.disk().mode = Mode::Works;
    let after = put_when_writable(&store, &other, "1").await;
    assert_eq!(after, before.next().next());
    assert_eq!(store.get(&key).await.unwrap().kv.unwrap().value, "2");
    let batch = watch.next_batch().await.expect("the watch lives").unwrap();
    assert_eq!(batch.revision, before.next());
}

#[tokio::test]
async fn a_log_with_another_state_is_not_used() {
    let log = FakeLog::default();
    let store = log.store();
    let key = Key::new("/a");
    store.put(key.clone(), "1".into()).await.unwrap();

    log.disk().mode = Mode::IsFull;
    store.put(key.clone(), "2".into()).await.unwrap_err();
    // Lost by the disk, although it was synced.
    log.disk().kvs.clear();
    log.disk().mode = Mode::Works;
    // The second attempt comes after the first one has been judged; the store must still refuse.
    while log.disk().opened < 2 {
        tokio::task::yield_now().await;
    }
    store.put(key.clone(), "3".into()).await.unwrap_err();
    assert!(log.disk().kvs.is_empty(), "nothing is written on top of a damaged state");
    assert_eq!(store.get(&key).await.unwrap().kv.unwrap().value, "1");
}

#[tokio::test]
async fn low_room_refuses_new_keys_only() {
    let room = FakeRoom::default();
    let state = WriteState::new(room.clone());
    let store = EmbeddedStore::start(Index::new(), Box::new(FakeLog::default()), state, None);
    let (old, new) = (Key::new("/old"), Key::new("/new"));
    store.create(old.clone(), "1".into()).await.unwrap();

    *room.0.lock().unwrap() = Some(LowRoom { free: 1, needed: 2 });
    let error = store.create(new.clone(), "1".into()).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(matches!(store.writable(), Err(Error::NoSpace { .. })));
    // A conflict is told as such: nothing would be created.
    assert!(store.create(old.clone(), "2".into()).await.unwrap().committed().is_none());
    let written = store.put(old.clone(), "2".into()).await.unwrap().committed().unwrap();
    store.delete(old.clone(), written).await.unwrap().committed().unwrap();

    *room.0.lock().unwrap() = None;
    store.create(new, "1".into()).await.unwrap().committed().unwrap();
}

#[tokio::test]
async fn each_sync_and_its_transactions_are_counted() {
    let store = FakeLog::default().store();
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

#[tokio::test]
async fn a_restored_store_has_the_keys_and_revisions_of_the_other() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = EmbeddedStore::open(first.path()).unwrap();
    for round in 0..3 {
        for name in ["/a", "/b", "/c"] {
            store.put(Key::new(name), format!("{name}{round}").into()).await.unwrap();
        }
    }
    let before = store.list(ListRequest::prefix("")).await.unwrap();
    drop(store);
    EmbeddedStore::restore(second.path(), &before.kvs, before.revision).unwrap();
    let refused = EmbeddedStore::restore(second.path(), &before.kvs, before.revision);
    assert!(matches!(refused, Err(Error::Directory { .. })), "only into an empty directory");
    let store = EmbeddedStore::open(second.path()).unwrap();
    let after = store.list(ListRequest::prefix("")).await.unwrap();
    assert_eq!((&after.kvs, after.revision), (&before.kvs, before.revision));
    let next = store.put(Key::new("/d"), "d".into()).await.unwrap();
    assert_eq!(next.committed(), Some(before.revision.next()));
}
