//! JSON of Mesos calls: what parses has a protobuf form that parses to the same message.
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
    for content in [ContentType::Protobuf, ContentType::Json] {
        let encoded = encode(content, &call);
        // A double may be NaN, which equals nothing; its encoding is compared instead.
        let again = decode::<Call>(content, &encoded).expect("what was encoded decodes");
        assert_eq!(encode(ContentType::Protobuf, &again), encode(ContentType::Protobuf, &call));
    }
    let _ = scheduler_call::from_wire(call);
});
