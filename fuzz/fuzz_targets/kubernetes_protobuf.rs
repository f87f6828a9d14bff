//! Decoding of protobuf request bodies: what is accepted is JSON that is accepted, and its message decodes to the same
//! object. The first byte picks the kind.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shim_model::protobuf;
use shim_model::schema::{Media, ObjectType, Schema, Strictness, decode, roots};

/// The types of the objects that are decoded.
static TYPES: LazyLock<Vec<ObjectType>> = LazyLock::new(|| {
    let schema = Schema::builtin();
    roots::all().filter_map(|root| schema.object_type(root.kind)).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((pick, message)) = input.split_first() else { return };
    let ty = &TYPES[usize::from(*pick) % TYPES.len()];
    let mut body = protobuf::envelope_head("", "", message.len() as u64);
    body.extend_from_slice(message);
    let Ok(decoded) = decode(&body, Media::Protobuf, ty, Strictness::Strict) else { return };
    let json = decode(decoded.value.to_string().as_bytes(), Media::Json, ty, Strictness::Strict);
    assert_eq!(json.expect("a decoded object is JSON").value, decoded.value);
    let Some(again) = protobuf::encode_value(&decoded.value) else { return };
    let again = decode(&again, Media::Protobuf, ty, Strictness::Strict);
    assert_eq!(again.expect("an encoded object decodes").value, decoded.value);
});
