//! The data directory: it survives restarts, is locked, refuses newer formats, and torn writes do no harm.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use store::{DATA_FORMAT_VERSION, EmbeddedStore, Error, Key, ListRequest, MemoryStore, Revision, Store, Txn};
use store::{WATCH_QUEUE_BATCHES_MAX, Watch};

#[tokio::test]
async fn everything_survives_a_restart_but_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let before = {
        let store = EmbeddedStore::open(directory.path()).unwrap();
        store.put(Key::new("/a"), "1".into()).await.unwrap();
        store.put(Key::new("/a"), "2".into()).await.unwrap();
        store.put(Key::new("/b"), "1".into()).await.unwrap();
        store.txn(Txn::new().delete(Key::new("/b"))).await.unwrap();
        store.list(ListRequest::default()).await.unwrap()
    };
    let store = EmbeddedStore::open(directory.path()).unwrap();
    assert_eq!(store.list(ListRequest::default()).await.unwrap(), before);
    assert_eq!(
        (before.revision, before.kvs[0].version),
        (Revision(5), 2),
        "a removal moves the revision too"
    );
    let Err(Error::Compacted { floor, .. }) = store.watch("/", Revision(4)).await else {
        panic!("history does not survive")
    };
    assert_eq!(floor, before.revision);
    let mut watch = store.watch("/", before.revision).await.unwrap();
    let next = store.put(Key::new("/a"), "3".into()).await.unwrap().committed();
    assert_eq!(next, Some(before.revision.next()));
    assert_eq!(watch.next_batch().await.unwrap().unwrap().revision, before.revision.next());
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let refused = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(&refused, Error::DirectoryInUse { path } if path == directory.path()), "{refused}");
    store.put(Key::new("/a"), "1".into()).await.expect("the owner is not disturbed");
    drop(store);
    EmbeddedStore::open(directory.path()).expect("it is free again");
}

#[test]
fn a_newer_format_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(directory.path()).unwrap());
    let newer = format!("catamaran-store {}\n", DATA_FORMAT_VERSION + 1);
    fs::write(directory.path().join("format"), newer).unwrap();
    let before = contents(directory.path());
    let refused = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(
        matches!(refused, Error::NewerFormat { found, supported, .. } if found == supported + 1),
        "{refused}"
    );
    assert_eq!(contents(directory.path()), before, "nothing was changed");
    fs::write(directory.path().join("format"), "something else").unwrap();
    assert!(matches!(EmbeddedStore::open(directory.path()), Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn a_torn_tail_loses_only_the_torn_writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path()).unwrap();
    for i in 0..20 {
        store.put(Key::new(format!("/{i:02}")), vec![b'x'; 300].into()).await.unwrap();
    }
    drop(store);
    tear(&journal(directory.path()));
    let store = EmbeddedStore::open(directory.path()).unwrap();
    let listing = store.list(ListRequest::default()).await.unwrap();
    assert_eq!(
        (listing.kvs.len(), listing.revision),
        (19, Revision(20)),
        "the torn write is gone as a whole"
    );
    store.put(Key::new("/new"), "1".into()).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(directory.path()).unwrap();
    assert_eq!(
        store.list(ListRequest::default()).await.unwrap().kvs.len(),
        20,
        "and it can be written again"
    );
}

#[tokio::test]
async fn a_slow_reader_is_dropped_and_writers_continue() {
    let store = MemoryStore::new();
    let mut sleeping: Watch = store.watch("/", Revision::FIRST).await.unwrap();
    for _ in 0..WATCH_QUEUE_BATCHES_MAX + 10 {
        store.put(Key::new("/a"), "1".into()).await.unwrap();
    }
    for i in 0..WATCH_QUEUE_BATCHES_MAX {
        let batch = sleeping.next_batch().await.unwrap().expect("what was queued is delivered");
        assert_eq!(batch.revision.0, 2 + i as u64);
    }
    assert!(matches!(sleeping.next_batch().await, Some(Err(Error::WatcherTooSlow))));
    assert!(sleeping.next_batch().await.is_none());
}

/// Every file below the directory with its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(contents(&path)),
            false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    files
}

fn journal(directory: &Path) -> PathBuf {
    let mut files = contents(directory).into_keys();
    files.rfind(|path| path.extension().is_some_and(|ext| ext == "jnl")).expect("fjall has a journal")
}

/// Truncates the last record, as a crash during a write does.
fn tear(journal: &Path) {
    let bytes = fs::read(journal).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("the journal is not empty");
    let file = OpenOptions::new().write(true).open(journal).unwrap();
    file.set_len(written as u64 - 100).unwrap();
}
