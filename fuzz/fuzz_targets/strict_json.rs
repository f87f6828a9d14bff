//! Decoding of JSON request bodies: no input panics, and what is accepted is read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shim_model::{
    resource,
    schema::{Media, Strictness, decode, plain_json},
};

fuzz_target!(|body: &[u8]| {
    let Some(pods) = resource::find("", "v1", "pods") else { return };
    let _ = decode(body, Media::Json, pods.kind_ref(), Strictness::Strict);
    if let Ok(value) = plain_json(body) {
        let text = value.to_string();
        assert_eq!(plain_json(text.as_bytes()), Ok(value));
    }
});
