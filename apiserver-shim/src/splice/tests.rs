//! The scan against the real decoder.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(value: &Value, key: &str) {
    let bytes = crate::object::encode(value);
    let whole: Value = serde_json::from_slice(&bytes).unwrap();
    match member(&bytes, key) {
        Some(range) => {
            let found: Value = serde_json::from_slice(&bytes[range.clone()]).unwrap();
            assert_eq!(Some(&found), whole.get(key));
            let mut changed = whole.clone();
            changed[key] = json!({"new": [1, "}"]});
            let spliced = replace(&bytes, range, changed[key].to_string().as_bytes());
            assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), changed);
        }
        None => assert_eq!(whole.get(key), None),
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\\\\\"{}\\[\\],: é]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z\"{}]{1,4}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn finds_what_the_decoder_finds(spec in json_value(), status in json_value(), metadata in json_value()) {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"x": metadata}, "spec": spec, "status": status});
        for key in ["metadata", "spec", "status", "absent"] {
            check(&value, key);
        }
    }

    #[test]
    fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in "[{}\\[\\]\",:a ]{0,40}") {
        let _ = member(&bytes, "a");
        let _ = member(cut.as_bytes(), "a");
    }
}
