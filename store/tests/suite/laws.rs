//! The guarantees of the `Store` trait, one function each, independent of the backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{
    Condition, Error, Event, KEY_BYTES_MAX, Key, KeyValue, ListRequest, Revision, Store, TXN_BYTES_MAX,
    TXN_OPS_MAX, Txn, TxnOutcome, Watch, WatchBatch,
};

type AnyStore = Arc<dyn Store>;

/// The timeout of every wait in these tests.
pub const TIMEOUT: Duration = Duration::from_secs(60);

fn key(name: &str) -> Key {
    Key::new(name)
}

async fn put(store: &AnyStore, name: &str, value: &str) -> Revision {
    let value = Bytes::copy_from_slice(value.as_bytes());
    store.put(key(name), value).await.unwrap().committed().expect("a put has no precondition")
}

async fn remove(store: &AnyStore, name: &str) -> Revision {
    store.txn(Txn::new().delete(key(name))).await.unwrap().committed().expect("no precondition")
}

async fn held(store: &AnyStore, name: &str) -> Option<KeyValue> {
    store.get(&key(name)).await.unwrap().kv
}

fn names(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| kv.key.as_str()).collect()
}

/// The next batch with events; fails if none comes.
async fn next(watch: &mut Watch) -> WatchBatch {
    loop {
        let next = tokio::time::timeout(TIMEOUT, watch.next_batch()).await;
        let batch = next.expect("the watch is silent").expect("the watch ended").expect("the watch failed");
        if !batch.is_progress() {
            return batch;
        }
    }
}

pub async fn an_empty_store_is_at_one(store: AnyStore) {
    assert_eq!(store.current_revision().await.unwrap(), Revision::FIRST);
    let all = store.list(ListRequest::default()).await.unwrap();
    assert_eq!((all.kvs.len(), all.revision, all.more, all.remaining), (0, Revision::FIRST, false, 0));
    assert_eq!(put(&store, "/a", "1").await, Revision(2));
    assert_eq!(put(&store, "/b", "1").await, Revision(3));
    assert_eq!(store.current_revision().await.unwrap(), Revision(3));
}

pub async fn create_update_delete_with_preconditions(store: AnyStore) {
    let created = store.create(key("/a"), "1".into()).await.unwrap().committed().unwrap();
    assert!(store.create(key("/a"), "2".into()).await.unwrap().committed().is_none());
    let updated = store.update(key("/a"), "3".into(), created).await.unwrap().committed().unwrap();
    assert!(store.update(key("/a"), "4".into(), created).await.unwrap().committed().is_none());
    let kv = held(&store, "/a").await.unwrap();
    let expected = KeyValue {
        key: key("/a"),
        value: "3".into(),
        create_revision: created,
        mod_revision: updated,
        version: 2,
        unreadable: None,
    };
    assert_eq!(kv, expected);
    assert!(store.delete(key("/a"), created).await.unwrap().committed().is_none());
    assert_eq!(store.delete(key("/a"), updated).await.unwrap().committed(), Some(updated.next()));
    assert_eq!(held(&store, "/a").await, None);
    assert!(store.delete(key("/a"), updated).await.unwrap().committed().is_none(), "gone is not as expected");
    let again = store.update(key("/a"), "5".into(), Revision::ZERO).await.unwrap().committed().unwrap();
    let kv = held(&store, "/a").await.unwrap();
    assert_eq!((kv.create_revision, kv.version), (again, 1), "a new life begins a new count");
}

pub async fn a_conflict_returns_the_current_values(store: AnyStore) {
    let a = put(&store, "/a", "1").await;
    let txn = Txn::new()
        .when(key("/missing"), Condition::Exists)
        .when(key("/a"), Condition::ModRevision(a))
        .put(key("/b"), "2".into());
    let outcome = store.txn(txn).await.unwrap();
    assert_eq!(outcome.current_of(&key("/a")), held(&store, "/a").await.as_ref());
    let TxnOutcome::Conflict { current, revision } = outcome else { panic!("a comparison does not hold") };
    assert_eq!(revision, a);
    assert_eq!(current, [(key("/missing"), None), (key("/a"), held(&store, "/a").await)]);
    assert_eq!(held(&store, "/b").await, None);
}

pub async fn a_transaction_is_all_or_nothing(store: AnyStore) {
    put(&store, "/old", "1").await;
    let txn = Txn::new()
        .when(key("/new"), Condition::Absent)
        .when(key("/old"), Condition::Exists)
        .put(key("/new"), "2".into())
        .put(key("/other"), "3".into())
        .delete(key("/old"));
    let revision = store.txn(txn.clone()).await.unwrap().committed().unwrap();
    let all = store.list(ListRequest::default()).await.unwrap();
    assert_eq!(names(&all.kvs), ["/new", "/other"]);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision == revision), "all writes share the revision");
    assert_eq!(all.revision, revision);
    assert!(store.txn(txn).await.unwrap().committed().is_none());
    assert_eq!(store.list(ListRequest::default()).await.unwrap(), all);
}

pub async fn writes_without_effect_keep_the_revision(store: AnyStore) {
    let revision = put(&store, "/a", "1").await;
    assert_eq!(remove(&store, "/missing").await, revision);
    assert_eq!(store.txn(Txn::new()).await.unwrap().committed(), Some(revision));
    let only_compares = Txn::new().when(key("/a"), Condition::Exists);
    assert_eq!(store.txn(only_compares).await.unwrap().committed(), Some(revision));
    assert_eq!(put(&store, "/a", "1").await, revision.next(), "writing the same value is a write");
}

pub async fn wrong_transactions_are_refused(store: AnyStore) {
    let before = put(&store, "/a", "1").await;
    let twice = Txn::new().put(key("/b"), "1".into()).delete(key("/b"));
    assert!(matches!(store.txn(twice).await, Err(Error::InvalidTxn { .. })));
    let nameless = Txn::new().put(key(""), "1".into());
    assert!(matches!(store.txn(nameless).await, Err(Error::InvalidTxn { .. })));
    let long = |bytes| store.put(key(&format!("/{}", "x".repeat(bytes - 1))), "1".into());
    assert!(matches!(long(KEY_BYTES_MAX + 1).await, Err(Error::InvalidTxn { .. })));
    let many = |count| (0..count).fold(Txn::new(), |txn, i| txn.put(key(&format!("/m/{i}")), "1".into()));
    assert!(matches!(store.txn(many(TXN_OPS_MAX + 1)).await, Err(Error::InvalidTxn { .. })));
    let large = |bytes| store.put(key("/l"), Bytes::from(vec![b'x'; bytes]));
    assert!(matches!(large(TXN_BYTES_MAX).await, Err(Error::TooLarge { .. })));
    assert_eq!(store.current_revision().await.unwrap(), before, "nothing was changed");
    assert!(store.txn(many(TXN_OPS_MAX)).await.unwrap().committed().is_some(), "up to the limit is fine");
    assert!(long(KEY_BYTES_MAX).await.unwrap().committed().is_some());
    assert!(large(TXN_BYTES_MAX - 2).await.unwrap().committed().is_some());
}

pub async fn a_prefix_is_a_string_prefix(store: AnyStore) {
    for name in ["/pods/a/x", "/pods/ab/x", "/pods/a", "/podsecurity", "/pods/ä/x", "/po"] {
        put(&store, name, "1").await;
    }
    let under = |prefix: &str| store.list(ListRequest::prefix(prefix));
    assert_eq!(names(&under("/pods/a/").await.unwrap().kvs), ["/pods/a/x"]);
    assert_eq!(
        names(&under("/pods/").await.unwrap().kvs),
        ["/pods/a", "/pods/a/x", "/pods/ab/x", "/pods/ä/x"]
    );
    assert_eq!(names(&under("/pods/a").await.unwrap().kvs), ["/pods/a", "/pods/a/x", "/pods/ab/x"]);
    assert_eq!(under("").await.unwrap().kvs.len(), 6);
    assert_eq!(under("/none").await.unwrap().kvs.len(), 0);
}

pub async fn pages_are_one_consistent_listing(store: AnyStore) {
    for i in 0..7 {
        put(&store, &format!("/k/{i}"), "1").await;
    }
    put(&store, "/l", "1").await;
    let page = |start_after: Option<&str>, at| {
        let start_after = start_after.map(Key::new);
        store.list(ListRequest { prefix: "/k/".into(), start_after, limit: 3, at })
    };
    let first = page(None, None).await.unwrap();
    assert_eq!((names(&first.kvs), first.more, first.remaining), (vec!["/k/0", "/k/1", "/k/2"], true, 4));
    remove(&store, "/k/4").await;
    put(&store, "/k/35", "new").await;
    put(&store, "/k/3", "changed").await;
    let second = page(Some("/k/2"), Some(first.revision)).await.unwrap();
    assert_eq!((names(&second.kvs), second.more, second.remaining), (vec!["/k/3", "/k/4", "/k/5"], true, 1));
    assert_eq!(second.kvs[0].value, "1");
    assert_eq!(second.revision, first.revision);
    let third = page(Some("/k/5"), Some(first.revision)).await.unwrap();
    assert_eq!((names(&third.kvs), third.more, third.remaining), (vec!["/k/6"], false, 0));
    let newest = page(Some("/k/2"), None).await.unwrap();
    assert_eq!(names(&newest.kvs), ["/k/3", "/k/35", "/k/5"]);
    let outside = page(Some("/a"), None).await.unwrap();
    assert_eq!(names(&outside.kvs), ["/k/0", "/k/1", "/k/2"], "a start before the prefix is its beginning");
    assert!(page(Some("/z"), None).await.unwrap().kvs.is_empty());
}

pub async fn long_listings_are_complete(store: AnyStore) {
    let count = 1_300;
    let all: Vec<String> = (0..count).map(|i| format!("/k/{i:05}")).collect();
    for chunk in all.chunks(TXN_OPS_MAX) {
        let txn = chunk.iter().fold(Txn::new(), |txn, name| txn.put(key(name), "1".into()));
        store.txn(txn).await.unwrap();
    }
    let listing = store.list(ListRequest::prefix("/k/")).await.unwrap();
    assert_eq!(names(&listing.kvs), all);
    assert_eq!((listing.more, listing.remaining), (false, 0));
    let limited = ListRequest { limit: 1_100, ..ListRequest::prefix("/k/") };
    let listing = store.list(limited).await.unwrap();
    assert_eq!(names(&listing.kvs), all[..1_100]);
    assert_eq!((listing.more, listing.remaining), (true, 200));
}

pub async fn old_revisions_can_be_listed(store: AnyStore) {
    let created = put(&store, "/a", "1").await;
    let updated = put(&store, "/a", "2").await;
    let removed = remove(&store, "/a").await;
    let recreated = put(&store, "/a", "3").await;
    for (at, value) in [(created, Some("1")), (updated, Some("2")), (removed, None), (recreated, Some("3"))] {
        let listing = store.list(ListRequest { at: Some(at), ..ListRequest::default() }).await.unwrap();
        assert_eq!(listing.kvs.first().map(|kv| kv.value.clone()), value.map(Bytes::from), "at {at}");
        assert_eq!(listing.revision, at);
    }
    let future = ListRequest { at: Some(recreated.next()), ..ListRequest::default() };
    let Err(Error::FutureRevision { requested, current }) = store.list(future).await else {
        panic!("the future cannot be read")
    };
    assert_eq!((requested, current), (recreated.next(), recreated));
}

pub async fn compaction_removes_old_revisions(store: AnyStore) {
    let revisions =
        [put(&store, "/a", "1").await, put(&store, "/a", "2").await, put(&store, "/a", "3").await];
    let [oldest, floor, newest] = revisions;
    store.compact(floor).await.unwrap();
    store.compact(oldest).await.expect("compacting what is compacted does nothing");
    assert!(matches!(store.compact(newest.next()).await, Err(Error::FutureRevision { .. })));
    let at = |revision| store.list(ListRequest { at: Some(revision), ..ListRequest::default() });
    let Err(Error::Compacted { requested, floor: told }) = at(oldest).await else { panic!("it is gone") };
    assert_eq!(requested, oldest);
    assert!(at(told).await.is_ok(), "what the refusal names can be read");
    assert_eq!(at(floor).await.unwrap().kvs[0].value, "2", "the floor itself can be read");
    assert!(matches!(at(Revision::ZERO).await, Err(Error::Compacted { .. })));
    assert!(matches!(store.watch("/", oldest).await, Err(Error::Compacted { .. })));
    assert!(matches!(store.watch("/", Revision::ZERO).await, Err(Error::Compacted { .. })));
    let mut watch = store.watch("/", floor).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, newest, "the floor itself can be watched from");
    assert_eq!(held(&store, "/a").await.unwrap().value, "3");
}

pub async fn a_watch_misses_nothing_and_repeats_nothing(store: AnyStore) {
    let start = put(&store, "/before", "1").await;
    let mut expected = Vec::new();
    for i in 0..50 {
        expected.push(put(&store, &format!("/w/{}", i % 5), &i.to_string()).await);
    }
    put(&store, "/elsewhere", "1").await;
    let mut watch = store.watch("/w/", start).await.unwrap();
    for i in 50..100 {
        expected.push(put(&store, &format!("/w/{}", i % 5), &i.to_string()).await);
    }
    for (i, revision) in expected.iter().enumerate() {
        let batch = next(&mut watch).await;
        assert_eq!(batch.revision, *revision);
        let [Event::Put { kv, .. }] = &*batch.events else { panic!("one put: {batch:?}") };
        assert_eq!((kv.value.as_ref(), kv.mod_revision), (i.to_string().as_bytes(), *revision));
    }
    let last = put(&store, "/w/end", "1").await;
    assert_eq!(next(&mut watch).await.revision, last, "nothing was between");
}

pub async fn a_watch_sees_transactions_whole(store: AnyStore) {
    let start = store.current_revision().await.unwrap();
    let mut all = store.watch("", start).await.unwrap();
    let mut part = store.watch("/b", start).await.unwrap();
    let txn = Txn::new().put(key("/b1"), "1".into()).put(key("/a"), "2".into()).put(key("/b2"), "3".into());
    let revision = store.txn(txn).await.unwrap().committed().unwrap();
    put(&store, "/b3", "4").await;
    let batch = next(&mut all).await;
    let keys: BTreeSet<&str> = batch.events.iter().map(|event| event.key().as_str()).collect();
    assert_eq!((batch.revision, keys), (revision, BTreeSet::from(["/b1", "/a", "/b2"])));
    assert!(batch.events.iter().all(|event| event.revision() == revision));
    let batch = next(&mut part).await;
    let keys: BTreeSet<&str> = batch.events.iter().map(|event| event.key().as_str()).collect();
    assert_eq!((batch.revision, keys), (revision, BTreeSet::from(["/b1", "/b2"])));
    assert_eq!(next(&mut part).await.events[0].key().as_str(), "/b3");
}

pub async fn a_watch_has_previous_values(store: AnyStore) {
    let start = store.current_revision().await.unwrap();
    let mut watch = store.watch("/", start).await.unwrap();
    put(&store, "/a", "1").await;
    let first = held(&store, "/a").await;
    put(&store, "/a", "2").await;
    let second = held(&store, "/a").await;
    let removed = remove(&store, "/a").await;
    let created = next(&mut watch).await;
    assert_eq!(*created.events, [Event::Put { kv: first.clone().unwrap(), prev: None }]);
    let updated = next(&mut watch).await;
    assert_eq!(*updated.events, [Event::Put { kv: second.clone().unwrap(), prev: first }]);
    let deleted = next(&mut watch).await;
    assert_eq!(*deleted.events, [Event::Delete { key: key("/a"), prev: second.unwrap(), revision: removed }]);
}

pub async fn a_watch_may_start_in_the_future(store: AnyStore) {
    let current = put(&store, "/a", "1").await;
    let mut watch = store.watch("/", Revision(current.0 + 2)).await.unwrap();
    for value in ["2", "3", "4"] {
        put(&store, "/a", value).await;
    }
    assert_eq!(next(&mut watch).await.revision, Revision(current.0 + 3));
}

pub async fn progress_comes_after_everything_before_it(store: AnyStore) {
    let start = store.current_revision().await.unwrap();
    let mut busy = store.watch("/busy/", start).await.unwrap();
    let mut idle = store.watch("/idle/", start).await.unwrap();
    let written = put(&store, "/busy/a", "1").await;
    store.request_progress().await.unwrap();
    let first = tokio::time::timeout(TIMEOUT, busy.next_batch()).await.unwrap().unwrap().unwrap();
    assert!(!first.is_progress() && first.revision == written);
    let mark = tokio::time::timeout(TIMEOUT, idle.next_batch()).await.unwrap().unwrap().unwrap();
    assert!(mark.is_progress() && mark.revision >= written);
    assert_eq!(
        names(&store.list(ListRequest::default()).await.unwrap().kvs),
        ["/busy/a"],
        "no mark is a key"
    );
}

pub async fn concurrent_writers_are_serialised(store: AnyStore) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 20;
    let start = put(&store, "/count", "0").await;
    let mut watch = store.watch("/count", start).await.unwrap();
    let writers = (0..WRITERS).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                increment(&store).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let total = WRITERS * ROUNDS;
    assert_eq!(held(&store, "/count").await.unwrap().value, total.to_string());
    for count in 1..=total {
        let batch = next(&mut watch).await;
        let [Event::Put { kv, .. }] = &*batch.events else { panic!("one put: {batch:?}") };
        assert_eq!(kv.value, count.to_string(), "each increment saw the one before it");
        assert_eq!(batch.revision.0, start.0 + count as u64, "each write moved the revision by one");
    }
}

async fn increment(store: &AnyStore) {
    loop {
        let kv = held(store, "/count").await.unwrap();
        let count: usize = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
        let next = Bytes::from((count + 1).to_string());
        if store.update(key("/count"), next, kv.mod_revision).await.unwrap().committed().is_some() {
            return;
        }
    }
}

pub async fn values_of_any_bytes_survive(store: AnyStore) {
    let value = Bytes::from((0..=255_u8).collect::<Vec<_>>());
    store.put(key("/bytes"), value.clone()).await.unwrap();
    store.put(key("/empty"), Bytes::new()).await.unwrap();
    assert_eq!(held(&store, "/bytes").await.unwrap().value, value);
    assert_eq!(held(&store, "/empty").await.unwrap().value, Bytes::new());
}
