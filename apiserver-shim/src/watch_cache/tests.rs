//! The cache against a model: whatever is written and wherever a watcher begins, replaying its events over the list
//! that it began with gives what it would list now.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;
use shim_model::object::{Header, StoredObject};
use shim_model::selector::{FieldSelector, LabelSelector};

use super::*;
use crate::object::encode;
use crate::selection::Selection;

fn object(namespace: &str, name: &str, label: u8, revision: u64) -> Arc<Object> {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"l": label.to_string()}}});
    let stored = StoredObject { bytes: encode(&value), header: Header::of(&value), fields: vec![] };
    Object::new(stored, revision).unwrap()
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

fn replay(watcher: &mut Watcher, state: &mut Listed, limit: usize) -> Result<(), Lagged> {
    loop {
        let before = watcher.next;
        let had_initial = watcher.has_initial();
        let batch = watcher.poll(limit)?;
        if batch.deliveries.is_empty() && before == watcher.next && !had_initial {
            return Ok(());
        }
        for event in batch.deliveries {
            let key = key_of(event.object.namespace(), event.object.name());
            let labels = format!("{:?}", event.object.header().labels);
            match event.kind {
                ChangeKind::Added => assert!(state.insert(key, (event.revision, labels)).is_none()),
                ChangeKind::Modified => assert!(state.insert(key, (event.revision, labels)).is_some()),
                ChangeKind::Deleted => assert!(state.remove(&key).is_some()),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(bool, bool, u8),
    Remove(bool, bool),
    Open(usize, bool),
    Poll(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<bool>(), any::<bool>(), 0..3u8).prop_map(|(n, x, l)| Step::Put(n, x, l)),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(n, x)| Step::Remove(n, x)),
        1 => (0..4usize, any::<bool>()).prop_map(|(s, start)| Step::Open(s, start)),
        2 => (1..5usize).prop_map(Step::Poll),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn every_watcher_ends_where_a_list_would(steps in steps()) {
        let cache = WatchCache::new([], 1);
        let mut revision = 1;
        let mut open: Vec<(Watcher, Selection, Listed)> = Vec::new();
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
                Step::Open(s, start) => {
                    let selection = selections().swap_remove(s);
                    let (from, state) = if start {
                        (WatchFrom::Start, Listed::new())
                    } else {
                        (WatchFrom::After(revision), listed(&cache, &selection))
                    };
                    open.push((cache.watch(from, selection.clone()).unwrap(), selection, state));
                }
                Step::Poll(limit) => {
                    for (watcher, _, state) in &mut open {
                        replay(watcher, state, limit).unwrap();
                    }
                }
            }
        }
        for (watcher, selection, state) in &mut open {
            replay(watcher, state, 2).unwrap();
            prop_assert_eq!(&*state, &listed(&cache, selection));
        }
    }
}

#[test]
fn one_who_falls_out_of_the_window_is_told() {
    let cache = WatchCache::new([], 1);
    let mut watcher = cache.watch(WatchFrom::After(1), Selection::everything()).unwrap();
    for revision in 2..WINDOW_CHANGES_MAX as u64 + 4 {
        let put = Written::Put(object("a", "x", 0, revision));
        cache.apply([(key_of("a", "x"), put)], Instant::now());
    }
    assert_eq!(watcher.poll(10).unwrap_err(), Lagged { oldest: 3 });
    assert_eq!(cache.watch(WatchFrom::After(2), Selection::everything()).err(), Some(Lagged { oldest: 3 }));
    let mut behind = cache.watch(WatchFrom::After(3), Selection::everything()).unwrap();
    assert_eq!(behind.poll(1).unwrap().deliveries[0].revision, 4);
    cache.reset([], 90_000);
    assert!(behind.poll(1).is_err());
}

#[test]
fn old_changes_are_forgotten_and_new_watches_still_begin() {
    let cache = WatchCache::new([], 1);
    let then = Instant::now();
    cache.apply([(key_of("a", "x"), Written::Put(object("a", "x", 0, 5)))], then);
    cache.expire(then + WINDOW_AGE_MAX);
    assert!(cache.watch(WatchFrom::After(4), Selection::everything()).is_err());
    assert!(cache.watch(WatchFrom::After(5), Selection::everything()).is_ok());
}

#[test]
fn a_watch_may_begin_before_the_cache_is_there() {
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
async fn a_sleeping_watcher_is_woken() {
    let cache = WatchCache::new([], 1);
    let mut watcher = cache.watch(WatchFrom::Start, Selection::namespace_of("b")).unwrap();
    let waiting = tokio::spawn(async move { watcher.next(10).await.unwrap() });
    cache.apply([(key_of("a", "x"), Written::Put(object("a", "x", 0, 2)))], Instant::now());
    cache.apply([(key_of("b", "x"), Written::Put(object("b", "x", 0, 3)))], Instant::now());
    let batch = waiting.await.unwrap();
    assert_eq!((batch.deliveries.len(), batch.revision), (1, 3));
}
