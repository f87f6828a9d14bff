//! Decoding of JSON request bodies: no input panics, and what is accepted is read back unchanged.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shim_model::{
    resource::{Resource, builtin},
    schema::{Media, Strictness, decode, plain_json},
};

/// The resource whose objects are decoded.
static PODS: LazyLock<Resource> = LazyLock::new(|| {
    let pods = builtin().into_iter().find(|resource| resource.group.is_empty() && resource.plural == "pods");
    pods.expect("Pods are built in")
});

fuzz_target!(|body: &[u8]| {
    let _ = decode(body, Media::Json, PODS.kind_ref(), Strictness::Strict);
    if let Ok(value) = plain_json(body) {
        let text = value.to_string();
        assert_eq!(plain_json(text.as_bytes()), Ok(value));
    }
});
