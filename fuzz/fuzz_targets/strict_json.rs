//! Decoding of JSON request bodies: what serde_json reads is read to the same value, what is accepted is read back
//! unchanged, and a decoded object decodes to itself.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shim_model::{
    resource::KindRef,
    schema::{Media, ObjectType, Schema, Strictness, decode, plain_json},
};

/// The type of the objects that are decoded.
static POD: LazyLock<ObjectType> = LazyLock::new(|| {
    let pod = Schema::builtin().object_type(KindRef { group: "", version: "v1", kind: "Pod" });
    pod.expect("Pods are built in")
});

fuzz_target!(|body: &[u8]| {
    let plain = plain_json(body);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        assert_eq!(plain.as_ref(), Ok(&value));
    }
    if let Ok(value) = &plain {
        assert_eq!(plain_json(value.to_string().as_bytes()).as_ref(), Ok(value));
    }
    let strict = decode(body, Media::Json, &POD, Strictness::Strict);
    let warned = decode(body, Media::Json, &POD, Strictness::Warn);
    if let Ok(strict) = &strict {
        assert_eq!(Some(&strict.value), warned.as_ref().ok().map(|warned| &warned.value));
    }
    let Ok(warned) = warned else { return };
    assert_eq!(strict.is_ok(), warned.warnings.is_empty(), "{:?}", warned.warnings);
    let again = decode(warned.value.to_string().as_bytes(), Media::Json, &POD, Strictness::Strict);
    assert_eq!(again.expect("a decoded object decodes").value, warned.value);
});
