//! Headers and the splice of resourceVersion.

use super::*;

#[test]
fn header_is_the_same_from_bytes_and_from_a_value() {
    let text = r#"{"kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u","labels":{"x":"y"},"generation":3,
        "creationTimestamp":null,"finalizers":["a/b"],"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"1","controller":true}]},
        "spec":{"metadata":{"name":"no"}}}"#;
    let from_bytes = Header::parse(text.as_bytes()).unwrap();
    assert_eq!(from_bytes, Header::of(&serde_json::from_str(text).unwrap()));
    assert_eq!(from_bytes.controller().unwrap().name, "o");
    assert_eq!((from_bytes.name.as_str(), from_bytes.generation), ("a", 3));
}

#[test]
fn resource_version_goes_into_the_outermost_metadata_only() {
    let check = |from: &str, to: &str| {
        assert_eq!(String::from_utf8(with_resource_version(from.as_bytes(), 7)).unwrap(), to);
    };
    check(r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#);
    check(
        r#"{"data":{"metadata":{"a":"\"}"}},"metadata" : {"name":"x"}}"#,
        r#"{"data":{"metadata":{"a":"\"}"}},"metadata" : {"resourceVersion":"7","name":"x"}}"#,
    );
    check("[]", "[]");
    check("{\"metadata", "{\"metadata");
}
