//! Decoding of protobuf request bodies: what is accepted is JSON that is accepted, and its message decodes to the same
//! object. The first byte picks the kind.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use shim_model::protobuf;
use shim_model::schema::{Media, ObjectType, Schema, Strictness, decode, roots};

/// The types of the objects that are decoded.
static TYPES: LazyLock<Vec<ObjectType>> = LazyLock::new(|| {
    let schema = Schema::builtin();
    roots::all().filter_map(|root| schema.object_type(root.kind)).collect()
});

/// Without empty metadata, which messages always have and JSON need not.
fn without_empty_metadata(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.values_mut().for_each(|member| *member = without_empty_metadata(member.take()));
            members.retain(|name, member| name != "metadata" || *member != Value::Object(Map::new()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_empty_metadata(item.take())),
        _ => {}
    }
    value
}

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
    let again = again.expect("an encoded object decodes").value;
    assert_eq!(without_empty_metadata(again), without_empty_metadata(decoded.value));
});
