//! The cache against a model: for any writes and any start of a watch, replaying the watch's events over its initial
//! list yields the current list.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::storage::catalog::testing::definition;
use proptest::prelude::*;
use serde_json::json;
use shim_model::selector::{FieldSelector, LabelSelector};

use super::*;
use crate::storage::object::encoded;
use crate::storage::selection::Selection;

fn object(namespace: &str, name: &str, label: u8, revision: u64) -> Arc<Object> {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"l": label.to_string()}}});
    Object::new(Arc::new(encoded(&value)), &definition("", "configmaps"), revision).unwrap()
}

fn selections() -> Vec<Selection> {
    let labels = |text| LabelSelector::parse(text).unwrap();
    let fields = |text| FieldSelector::parse(text).unwrap();
    vec![
        Selection::everything(),
        Selection::namespace_of("a"),
        Selection::new(None, labels("l=1"), FieldSelector::default()),
        Selection::new(Some("b"), labels("l!=0"), fields("metadata.name=x")),
    ]
}

type Listed = BTreeMap<String, (u64, String)>;

fn listed(cache: &WatchCache, selection: &Selection) -> Listed {
    let all = cache.list(selection.namespace());
    let chosen = all.into_iter().filter(|o| selection.matches(o));
    chosen
        .map(|o| (key_of(o.namespace(), o.name()), (o.revision, format!("{:?}", o.header().labels))))
        .collect()
}

/// Writes events as text, in place of an encoding.
fn write(deliveries: &[Delivery]) -> Bytes {
    let lines = deliveries.iter().map(|event| {
        let key = key_of(event.object.namespace(), event.object.name());
        format!("{} {key} {} {:?}\n", event.kind.as_str(), event.revision, event.object.header().labels)
    });
    Bytes::from(lines.collect::<String>())
}

/// Reads all pending events, as a member of a group or alone, and applies them to the initial list.
fn replay(
    watcher: &mut Watcher,
    group: Option<&Arc<BroadcastGroup>>,
    state: &mut Listed,
    limit: usize,
) -> Result<(), WatchEnd> {
    loop {
        let (bytes, cut) = match group {
            Some(group) => {
                let batch = watcher.poll_written(group, limit, write)?;
                assert_eq!(batch.events, batch.bytes.split(|b| *b == b'\n').count() - 1);
                (batch.bytes, batch.cut)
            }
            None => watcher.poll(limit).map(|batch| (write(&batch.deliveries), batch.cut))?,
        };
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            let [kind, key, revision, labels] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
            let now = (revision.parse().unwrap(), labels.to_owned());
            match kind {
                "ADDED" => assert!(state.insert(key.to_owned(), now).is_none()),
                "MODIFIED" => assert!(state.insert(key.to_owned(), now).is_some()),
                _ => assert!(state.remove(key).is_some()),
            }
        }
        if bytes.is_empty() && !cut {
            return Ok(());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(bool, bool, u8),
    Remove(bool, bool),
    Open(usize, bool, bool),
    Poll(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<bool>(), any::<bool>(), 0..3u8).prop_map(|(n, x, l)| Step::Put(n, x, l)),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(n, x)| Step::Remove(n, x)),
        2 => (0..4usize, any::<bool>(), any::<bool>()).prop_map(|(s, start, shared)| Step::Open(s, start, shared)),
        3 => (1..5usize, any::<u8>()).prop_map(|(limit, who)| Step::Poll(limit, who)),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn replaying_a_watch_yields_the_current_list(steps in steps()) {
        let cache = WatchCache::new([], 1);
        let mut revision = 1;
        let mut open: Vec<(Watcher, Option<Arc<BroadcastGroup>>, Selection, Listed)> = Vec::new();
        let names = |n: bool, x: bool| (if n { "a" } else { "b" }, if x { "x" } else { "y" });
        for step in steps {
            match step {
                Step::Put(n, x, label) => {
                    revision += 1;
                    let (n, x) = names(n, x);
                    cache.apply([(key_of(n, x), Written::Put(object(n, x, label, revision)))], Instant::now());
                }
                Step::Remove(n, x) => {
                    revision += 1;
                    let (n, x) = names(n, x);
                    cache.apply([(key_of(n, x), Written::Removed { revision })], Instant::now());
                }
                Step::Open(s, start, shared) => {
                    let selection = selections().swap_remove(s);
                    let (from, state) = if start {
                        (WatchFrom::Start, Listed::new())
                    } else {
                        (WatchFrom::After(revision), listed(&cache, &selection))
                    };
                    let group = shared.then(|| cache.broadcast_group(&selection, "text".to_owned()));
                    open.push((cache.watch_debounced(from, selection.clone()).unwrap(), group, selection, state));
                }
                Step::Poll(limit, who) => {
                    let some = open.iter_mut().enumerate().filter(|(at, _)| who >> (at % 8) & 1 == 1);
                    for (_, (watcher, group, _, state)) in some {
                        replay(watcher, group.as_ref(), state, limit).unwrap();
                    }
                }
            }
        }
        for (watcher, group, selection, state) in &mut open {
            replay(watcher, group.as_ref(), state, 2).unwrap();
            prop_assert_eq!(&*state, &listed(&cache, selection));
        }
    }
}

#[test]
fn a_watcher_that_falls_out_of_the_window_lags() {
    let cache = WatchCache::new([], 1);
    let mut watcher = cache.watch(WatchFrom::After(1), Selection::everything()).unwrap();
    for revision in 2..WINDOW_CHANGES_MAX as u64 + 4 {
        let put = Written::Put(object("a", "x", 0, revision));
        cache.apply([(key_of("a", "x"), put)], Instant::now());
    }
    assert_eq!(watcher.poll(10).unwrap_err(), WatchEnd::Lagged { oldest: 3 });
    assert_eq!(
        cache.watch(WatchFrom::After(2), Selection::everything()).err(),
        Some(WatchEnd::Lagged { oldest: 3 })
    );
    let mut behind = cache.watch(WatchFrom::After(3), Selection::everything()).unwrap();
    assert_eq!(behind.poll(1).unwrap().deliveries[0].revision, 4);
    cache.reset([], 90_000);
    assert!(behind.poll(1).is_err());
}

#[test]
fn expired_changes_are_dropped_and_new_watches_still_start() {
    let cache = WatchCache::new([], 1);
    let then = Instant::now();
    cache.apply([(key_of("a", "x"), Written::Put(object("a", "x", 0, 5)))], then);
    cache.expire(then + WINDOW_AGE_MAX);
    assert!(cache.watch(WatchFrom::After(4), Selection::everything()).is_err());
    assert!(cache.watch(WatchFrom::After(5), Selection::everything()).is_ok());
}

#[test]
fn a_watch_may_start_ahead_of_the_cache() {
    let cache = WatchCache::new([], 1);
    let mut watcher = cache.watch(WatchFrom::After(5), Selection::everything()).unwrap();
    for revision in [4, 5, 6] {
        let put = Written::Put(object("a", "x", 0, revision));
        cache.apply([(key_of("a", "x"), put)], Instant::now());
    }
    let seen: Vec<u64> = watcher.poll(10).unwrap().deliveries.iter().map(|d| d.revision).collect();
    assert_eq!(seen, [6]);
}

#[tokio::test]
async fn a_waiting_watcher_is_notified() {
    let cache = WatchCache::new([], 1);
    let mut watcher = cache.watch(WatchFrom::Start, Selection::namespace_of("b")).unwrap();
    let waiting = tokio::spawn(async move { watcher.next(10).await.unwrap() });
    cache.apply([(key_of("a", "x"), Written::Put(object("a", "x", 0, 2)))], Instant::now());
    cache.apply([(key_of("b", "x"), Written::Put(object("b", "x", 0, 3)))], Instant::now());
    let batch = waiting.await.unwrap();
    assert_eq!((batch.deliveries.len(), batch.revision), (1, 3));
}

#[test]
fn a_group_shares_its_frames() {
    let cache = WatchCache::new([], 1);
    let selection = Selection::namespace_of("a");
    let open = || {
        let watcher = cache.watch_debounced(WatchFrom::After(1), selection.clone()).unwrap();
        (watcher, cache.broadcast_group(&selection, "text".to_owned()))
    };
    let mut all = [open(), open(), open()];
    let written = std::cell::Cell::new(0);
    let mut poll = |who: usize| {
        let (watcher, group) = &mut all[who];
        let write = |deliveries: &[Delivery]| {
            written.set(written.get() + deliveries.len());
            write(deliveries)
        };
        let bytes = watcher.poll_written(group, 100, write).unwrap().bytes;
        bytes.iter().filter(|byte| **byte == b'\n').count()
    };
    let put = |revision| {
        let change = Written::Put(object("a", "x", 0, revision));
        cache.apply([(key_of("a", "x"), change)], Instant::now());
    };
    put(2);
    put(3);
    // A change in the middle of a tick is delivered to all at the next tick.
    let first = [poll(0), poll(1)];
    put(4);
    let second = [poll(2), poll(0), poll(1), poll(2)];
    assert_eq!((first, second, written.get()), ([2, 2], [2, 1, 1, 1], 3));
}

/// Converts by writing, after a while, and counts.
fn conversion(
    count: &Arc<std::sync::atomic::AtomicUsize>,
    deliveries: Vec<Delivery>,
    fails: bool,
) -> futures::future::BoxFuture<'static, Result<(Bytes, usize), shim_model::status::Status>> {
    let count = count.clone();
    Box::pin(async move {
        tokio::task::yield_now().await;
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match fails {
            true => Err(shim_model::status::bad_request("no".to_owned())),
            false => Ok((write(&deliveries), deliveries.len())),
        }
    })
}

#[tokio::test]
async fn a_group_converts_once() {
    let cache = WatchCache::new([], 1);
    let selection = Selection::namespace_of("a");
    let open = |after| {
        let watcher = cache.watch_debounced(WatchFrom::After(after), selection.clone()).unwrap();
        (watcher, cache.broadcast_group(&selection, "text".to_owned()))
    };
    let put = |revision| {
        let change = Written::Put(object("a", "x", 0, revision));
        cache.apply([(key_of("a", "x"), change)], Instant::now());
    };
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let ((mut one, group), (mut two, _of_two), (mut late, _of_late)) = (open(1), open(1), open(1));
    put(2);
    put(3);
    let first = one.convert(&group, 100, |all| conversion(&count, all, false)).unwrap();
    let second = two.convert(&group, 100, |_| panic!("it is under way")).unwrap();
    let (first, second) = futures::future::join(first, second).await;
    let frames = [one.take_frame(&first.unwrap()), two.take_frame(&second.unwrap())];
    assert_eq!((frames[0].events, &frames[0].bytes), (2, &frames[1].bytes));
    put(4);
    // A failure ends the watches that await it, and no others.
    let failed = one.convert(&group, 100, |all| conversion(&count, all, true)).unwrap();
    assert!(failed.await.is_err());
    let retried = two.convert(&group, 100, |all| conversion(&count, all, false)).unwrap().await.unwrap();
    assert_eq!((two.take_frame(&retried).events, two.seen()), (1, 4));
    // Who is behind finds the frames that were kept, and who began later does not.
    let kept = late.convert(&group, 100, |_| panic!("it was kept")).unwrap().await.unwrap();
    assert_eq!(late.take_frame(&kept).bytes, frames[0].bytes);
    let (mut newer, _) = open(2);
    let own = newer.convert(&group, 100, |all| conversion(&count, all, false)).unwrap().await.unwrap();
    assert_eq!(newer.take_frame(&own).events, 2);
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 4);
}

/// Without it an index would not be as new as a read.
#[test]
fn unread_changes_are_known_before_the_watcher_is_notified() {
    let cache = WatchCache::new([], 0);
    let mut watcher = cache.watch_debounced(WatchFrom::Start, Selection::everything()).unwrap();
    assert!(!watcher.has_unread());
    for revision in [1, 2] {
        let written = Written::Put(object("a", "x", 0, revision));
        cache.state.write().unwrap().apply(key_of("a", "x"), written, Instant::now());
        assert!(watcher.has_unread() && !watcher.is_due());
        assert_eq!(watcher.poll(8).unwrap().deliveries.len(), 1);
        assert!(!watcher.has_unread());
    }
    cache.reset([], 9);
    assert!(watcher.has_unread() && watcher.poll(8).is_err(), "it lags");
    let cache = WatchCache::new([], 0);
    let watcher = cache.watch(WatchFrom::Start, Selection::everything()).unwrap();
    cache.close();
    assert!(watcher.has_unread(), "its end");
}
