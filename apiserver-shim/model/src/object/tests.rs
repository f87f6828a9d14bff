//! Tests of headers and member ranges.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn header_is_the_same_from_bytes_and_from_a_value() {
    let text = r#"{"kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u","labels":{"x":"y"},"generation":3,
        "creationTimestamp":null,"finalizers":["a/b"],"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"1","controller":true}]},
        "spec":{"metadata":{"name":"no"}}}"#;
    let from_bytes = stored(text).header;
    assert_eq!(*from_bytes, Header::of(&serde_json::from_str(text).unwrap()));
    assert_eq!(from_bytes.controller().unwrap().name, "o");
    assert_eq!((from_bytes.name.as_str(), from_bytes.generation), ("a", 3));
}

fn stored(text: &str) -> StoredObject {
    StoredObject::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn parts_are_of_the_outermost_object() {
    let it = stored(r#"{"data":{"spec":{"metadata":1}},"status" : {"a":"}"} , "metadata":{"name":"x"}}"#);
    assert_eq!(
        (it.metadata(), it.spec(), it.status()),
        (&br#"{"name":"x"}"#[..], &b""[..], &br#"{"a":"}"}"#[..])
    );
    assert_eq!(it.header.name, "x");
    for damaged in ["", "[]", "{", r#"{"metadata":{}"#, r#"{"spec":{]}"#, r#"{"metadata":{"labels":1}}"#] {
        assert!(StoredObject::parse(Bytes::copy_from_slice(damaged.as_bytes())).is_err(), "{damaged}");
    }
}

/// Versions of one object that differ in the status only, elsewhere, or in the order of members.
fn versions() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b")];
    let member = |key: &'static str| {
        prop_oneof![Just("1"), Just("2}"), Just("\"")].prop_map(move |v| json!({key: v}).to_string())
    };
    (name, member("s"), member("t"), 0..4).prop_map(|(name, spec, status, form)| {
        let metadata = json!({"name": name, "generation": 1});
        match form {
            0 => format!(r#"{{"metadata":{metadata},"spec":{spec},"status":{status},"z":1}}"#),
            1 => format!(r#"{{"metadata":{metadata},"spec":{spec}}}"#),
            _ => format!(r#"{{"metadata":{metadata},"spec":{spec},"status":{status}}}"#),
        }
    })
}

proptest! {
    #[test]
    fn a_next_version_reads_as_if_it_were_the_first(one in versions(), other in versions(), cut in 0..40usize) {
        let before = stored(&one);
        let next = before.parse_next(Bytes::from(other.clone())).unwrap();
        prop_assert_eq!(&next, &stored(&other));
        prop_assert_eq!(Arc::ptr_eq(&next.header, &before.header), next.header == before.header);
        let damaged = Bytes::copy_from_slice(&other.as_bytes()[..other.len().saturating_sub(cut)]);
        prop_assert_eq!(before.parse_next(damaged.clone()).is_ok(), StoredObject::parse(damaged).is_ok());
    }
}
