//! Encoding of objects, and serving them from slices.

use bytes::BytesMut;
use expect_test::expect;
use serde_json::json;
use shim_model::object::{Header, StoredObject};

use super::*;
use crate::storage::catalog::testing::definition;

fn object(value: &Value, revision: u64) -> Arc<Object> {
    Object::new(Arc::new(encoded(value)), &definition("", "configmaps"), revision).unwrap()
}

#[test]
fn responses_are_assembled_from_slices() {
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
fn bytes_of_another_layout_are_encoded_again() {
    let text = br#"{ "kind":"X", "metadata":{}, "apiVersion":"v1" }"#;
    let stored = StoredObject::parse(Bytes::from_static(text)).unwrap();
    let it = Object::new(Arc::new(stored), &definition("", "pods"), 0).unwrap();
    assert_eq!(show(&it.served()), r#"{"apiVersion":"v1","kind":"X","metadata":{"resourceVersion":"0"}}"#);
    let garbage = StoredObject::bare(Header::default());
    assert!(Object::new(Arc::new(garbage), &definition("", "pods"), 1).is_none());
}

#[test]
fn encoding_round_trips() {
    for value in [
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"spec": "{"}}, "spec": {"a": 1}, "status": {}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "y"}, "metadata": {"resourceVersion": "1"}}),
        json!({"kind": "X", "status": null}),
    ] {
        let it = encoded(&value);
        assert_eq!(StoredObject::parse(it.bytes.clone()).unwrap(), it, "{value}");
    }
}

#[test]
fn values_encode_as_serde_json_encodes_them() {
    let value = json!({
        "a\"b": ["", "plain", "é", "tab\t", "back\\slash", "\u{1}", "\u{7f}", "a long text of more than sixteen bytes"],
        "numbers": [0, -7, 1.5, u64::MAX, 1e300], "others": [null, true, false, [], {}, [[]], {"": {}}],
    });
    let mut out = Vec::new();
    write_value(&mut out, &value);
    assert_eq!(show(&out), value.to_string());
}

/// Checked against `encoding/json` of Go 1.26.
#[test]
fn floats_encode_as_in_go() {
    let value =
        json!([1.0, -44440.0, 1e3, 1.50, -0.0, 1e20, 1e21, -1.5e300, 0.000001, 1e-7, 0.1, 123456789.125]);
    let mut out = Vec::new();
    write_value(&mut out, &value);
    assert_eq!(
        show(&out),
        "[1,-44440,1000,1.5,-0,100000000000000000000,1e+21,-1.5e+300,0.000001,1e-7,0.1,123456789.125]"
    );
}

#[test]
fn characters_to_escape_are_found_at_every_offset() {
    for length in 0..40usize {
        for odd in [0u8, 1, 0x1f, b'"', b'\\'] {
            for plain in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                let mut text = vec![plain; length];
                assert!(!needs_escaping(&text), "{text:?}");
                for at in 0..length {
                    text[at] = odd;
                    assert!(needs_escaping(&text), "{text:?}");
                    text[at] = plain;
                }
            }
        }
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
