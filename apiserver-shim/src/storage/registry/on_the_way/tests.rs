//! What is noted is had once, for the same bytes, and only if it was written.

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
    }
}

#[test]
fn exactly_what_was_written_is_taken_once() {
    let (way, key) = (OnTheWay::default(), Key::new("/registry/core/pods/a/b"));
    let (one, other) = (r#"{"metadata":{"name":"b"}}"#, r#"{"metadata":{"name":"b","uid":"1"}}"#);
    let noted = stored(one);
    way.note(&key, &noted).written();
    assert!(way.take(&arrived(&key, other)).is_none());
    assert!(way.take(&arrived(&Key::new("/registry/core/pods/a/c"), one)).is_none());
    assert!(Arc::ptr_eq(&way.take(&arrived(&key, one)).unwrap(), &noted));
    assert!(way.take(&arrived(&key, one)).is_none());
}

#[test]
fn what_was_not_written_is_forgotten() {
    let (way, key) = (OnTheWay::default(), Key::new("/registry/core/pods/a/b"));
    let text = r#"{"metadata":{"name":"b"}}"#;
    drop(way.note(&key, &stored(text)));
    assert!(way.take(&arrived(&key, text)).is_none());
    // One writer loses a race against another one that wrote the same.
    let (loser, winner) = (stored(text), stored(text));
    let lost = way.note(&key, &loser);
    way.note(&key, &winner).written();
    drop(lost);
    assert!(Arc::ptr_eq(&way.take(&arrived(&key, text)).unwrap(), &winner));
    way.note(&key, &winner).written();
    way.clear();
    assert!(way.take(&arrived(&key, text)).is_none());
}
