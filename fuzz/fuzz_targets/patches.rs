//! JSON, merge and strategic merge patches of a small object. The first byte chooses the language, as `0`,
//! `1` and `2` do. The result stays in
//! proportion to the patch, a merge patch is that of RFC 7396, and applying one twice is applying it once.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use shim_model::{
    patch::{PatchKind, apply, json, merge},
    resource::KindRef,
    schema::{ObjectType, Schema, Strictness, plain_json},
};

/// The longest result: what copies may add, and the object itself.
const RESULT_BYTES_MAX: usize = 4 << 20;

/// The type of the objects that are decoded.
static POD: LazyLock<ObjectType> = LazyLock::new(|| {
    let pod = Schema::builtin().object_type(KindRef { group: "", version: "v1", kind: "Pod" });
    pod.expect("Pods are built in")
});

/// The algorithm of RFC 7396 as it is written there.
fn rfc_7396(target: Value, patch: &Value) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut target = if let Value::Object(target) = target { target } else { Map::new() };
    for (name, value) in members {
        let old = target.remove(name);
        if !value.is_null() {
            target.insert(name.clone(), rfc_7396(old.unwrap_or(Value::Null), value));
        }
    }
    Value::Object(target)
}

fuzz_target!(|input: &[u8]| {
    let Some((language, body)) = input.split_first() else { return };
    let kind = [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic][usize::from(language % 3)];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/a"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]},
    });
    let result = apply(kind, &pod, body, &POD, Strictness::Warn);
    assert!(
        result.is_err() || result.is_ok_and(|decoded| decoded.value.to_string().len() <= RESULT_BYTES_MAX)
    );
    match (kind, plain_json(body)) {
        (PatchKind::Merge, Ok(patch)) => {
            let mut merged = pod.clone();
            merge::apply(&mut merged, &patch);
            assert_eq!(merged, rfc_7396(pod, &patch));
            let once = merged.clone();
            assert!(!merge::apply(&mut merged, &patch), "the second time changes nothing");
            assert_eq!(merged, once);
        }
        (PatchKind::Json, Ok(Value::Array(operations))) => {
            let mut patched = pod;
            if json::apply(&mut patched, &operations).is_ok() {
                let text = patched.to_string();
                assert_eq!(plain_json(text.as_bytes()), Ok(patched), "a patched object is read back");
            }
        }
        _ => {}
    }
});
