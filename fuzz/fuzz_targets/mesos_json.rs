//! JSON of Mesos calls: what parses can be encoded as protobuf and as JSON, and both decode to the same call.
#![no_main]

use bytes::Bytes;
use kernel_wire::{
    codec::{ContentType, decode, encode},
    scheduler_call,
    v1::scheduler::Call,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(call) = decode::<Call>(ContentType::Json, &Bytes::copy_from_slice(body)) else { return };
    // Encodings are compared, since a double may be NaN. JSON has the defaults of absent fields, so it is compared with
    // itself.
    for content in [ContentType::Protobuf, ContentType::Json] {
        let encoded = encode(content, &call);
        let again = decode::<Call>(content, &encoded).expect("what was encoded decodes");
        assert_eq!(encode(content, &again), encoded);
    }
    let _ = scheduler_call::from_wire(call);
});
