//! Unit tests of the index: the bounds of its history and past states, which the suite cannot reach.

use std::time::Duration;

use bytes::Bytes;

use super::*;

fn put(index: &mut Index, key: &str, value: Bytes, now: Duration) {
    let mut draft = Draft::on(index);
    draft.evaluate(index, Txn::new().put(Key::new(key), value));
    index.apply(draft, now);
}

fn floor_of(index: &Index) -> u64 {
    match index.changes("", Revision::ZERO) {
        Err(Error::Compacted { floor, .. }) => floor.0,
        other => panic!("revision zero is never in the history: {other:?}"),
    }
}

#[test]
fn history_is_bounded_by_bytes() {
    let mut index = Index::new();
    let large = Bytes::from(vec![b'x'; 1024 * 1024]);
    for _ in 0..100 {
        put(&mut index, "/a", large.clone(), Duration::ZERO);
    }
    assert!(index.history_bytes <= HISTORY_BYTES_MAX);
    assert_eq!(floor_of(&index), 101 - 31, "31 replaced values of 1 MiB fit into 32 MiB");
    assert_eq!(index.changes("/a", Revision(101 - 31)).expect("the floor can be watched from").len(), 31);
}

#[test]
fn history_is_bounded_by_count_and_age() {
    let mut index = Index::new();
    for _ in 0..HISTORY_REVISIONS_MAX + 5 {
        put(&mut index, "/a", Bytes::new(), Duration::ZERO);
    }
    assert_eq!(floor_of(&index), 6);
    put(&mut index, "/a", Bytes::new(), HISTORY_AGE_MAX + Duration::from_secs(1));
    assert_eq!(index.history.len(), 1);
    assert_eq!(floor_of(&index), index.revision().0 - 1);
}

#[test]
fn past_revisions_do_not_change() {
    let mut index = Index::new();
    let mut states = vec![(index.revision(), Vec::new())];
    for step in 0..200_u32 {
        let key = format!("/k/{}", step * 7 % 13);
        let mut draft = Draft::on(&index);
        let txn = match step % 3 {
            0 => Txn::new().delete(Key::new(&key)),
            _ => Txn::new().put(Key::new(&key), Bytes::from(step.to_string())),
        };
        draft.evaluate(&index, txn);
        index.apply(draft, Duration::ZERO);
        states.push((index.revision(), index.list(&ListRequest::prefix("/k/")).expect("newest").kvs));
    }
    for (revision, kvs) in states {
        let mut paged = Vec::new();
        loop {
            let request = ListRequest {
                prefix: "/k/".into(),
                start_after: paged.last().map(|kv: &KeyValue| kv.key.clone()),
                limit: 3,
                at: Some(revision),
            };
            let page = index.list(&request).expect("in history");
            assert_eq!(page.remaining, (kvs.len() - paged.len() - page.kvs.len()) as u64);
            paged.extend(page.kvs);
            if !page.more {
                break;
            }
        }
        assert_eq!(paged, kvs, "at {revision}");
    }
}
