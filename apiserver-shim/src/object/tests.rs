//! Encoding and serving by slices.

use bytes::BytesMut;
use expect_test::expect;
use serde_json::json;
use shim_model::object::{Header, StoredObject};

use super::*;

fn object(value: &Value, revision: u64) -> Arc<Object> {
    let stored = StoredObject { bytes: encode(value), header: Header::of(value), fields: vec![] };
    Object::new(stored, revision).unwrap()
}

#[test]
fn an_object_is_served_by_slices() {
    let value = json!({"apiVersion": "v1", "data": {"a": "\"metadata\":{"}, "kind": "ConfigMap",
        "metadata": {"name": "c", "resourceVersion": "3"}});
    let it = object(&value, 17);
    let mut item = BytesMut::new();
    it.write_item(&mut item);
    expect![[r#"
        {"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"17","name":"c"},"data":{"a":"\"metadata\":{"}}
        {"metadata":{"resourceVersion":"17","name":"c"},"data":{"a":"\"metadata\":{"}}
    "#]]
    .assert_eq(&format!("{}\n{}\n", show(&it.served()), show(&item)));
    assert_eq!(it.value()["metadata"]["resourceVersion"], "17");
}

#[test]
fn foreign_bytes_are_written_anew() {
    let text = br#"{ "kind":"X", "metadata":{}, "apiVersion":"v1" }"#;
    let stored = StoredObject { bytes: Bytes::from_static(text), header: Header::default(), fields: vec![] };
    let it = Object::new(stored, 0).unwrap();
    assert_eq!(show(&it.served()), r#"{"apiVersion":"v1","kind":"X","metadata":{"resourceVersion":"0"}}"#);
    let garbage =
        StoredObject { bytes: Bytes::from_static(b"\xff"), header: Header::default(), fields: vec![] };
    assert!(Object::new(garbage, 1).is_none());
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
