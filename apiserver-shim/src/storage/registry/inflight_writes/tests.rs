//! A registered object is taken once, only for equal bytes, and only if it was written.

use store::Revision;

use super::*;

fn stored(text: &str) -> Arc<StoredObject> {
    Arc::new(StoredObject::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap())
}

fn arrived(key: &Key, text: &str) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: bytes::Bytes::copy_from_slice(text.as_bytes()),
        create_revision: Revision(2),
        mod_revision: Revision(2),
        version: 1,
        unreadable: None,
    }
}

#[test]
fn a_committed_object_is_taken_once_for_equal_bytes() {
    let (inflight, key) = (InflightWrites::default(), Key::new("/registry/core/pods/a/b"));
    let (one, other) = (r#"{"metadata":{"name":"b"}}"#, r#"{"metadata":{"name":"b","uid":"1"}}"#);
    let object = stored(one);
    inflight.register(&key, &object).commit();
    assert!(inflight.take(&arrived(&key, other)).is_none());
    assert!(inflight.take(&arrived(&Key::new("/registry/core/pods/a/c"), one)).is_none());
    assert!(Arc::ptr_eq(&inflight.take(&arrived(&key, one)).unwrap(), &object));
    assert!(inflight.take(&arrived(&key, one)).is_none());
}

#[test]
fn an_uncommitted_object_is_removed() {
    let (inflight, key) = (InflightWrites::default(), Key::new("/registry/core/pods/a/b"));
    let text = r#"{"metadata":{"name":"b"}}"#;
    drop(inflight.register(&key, &stored(text)));
    assert!(inflight.take(&arrived(&key, text)).is_none());
    // Two writers race with equal bytes, and one of them loses.
    let (loser, winner) = (stored(text), stored(text));
    let lost = inflight.register(&key, &loser);
    inflight.register(&key, &winner).commit();
    drop(lost);
    assert!(Arc::ptr_eq(&inflight.take(&arrived(&key, text)).unwrap(), &winner));
    inflight.register(&key, &winner).commit();
    inflight.clear();
    assert!(inflight.take(&arrived(&key, text)).is_none());
}
