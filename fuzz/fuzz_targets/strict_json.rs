//! Decoding of JSON request bodies: no input panics, and what is accepted is read back unchanged.
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
    let _ = decode(body, Media::Json, &POD, Strictness::Strict);
    if let Ok(value) = plain_json(body) {
        let text = value.to_string();
        assert_eq!(plain_json(text.as_bytes()), Ok(value));
    }
});
