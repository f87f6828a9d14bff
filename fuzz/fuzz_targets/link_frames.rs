//! Frames and messages of the agent link: frames add up to the bytes that they were taken from, and a message that decodes
//! encodes to bytes that decode and encode to the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use kernel_wire::link::{self, decode_to_agent, decode_to_master, encode_to_agent, encode_to_master};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A frame's length is announced first; a length that the input cannot have needs no memory here.
    if bytes.first().is_none_or(|high| *high == 0) {
        let mut buffer = BytesMut::from(bytes);
        let mut taken = Vec::new();
        while let Ok(Some(frame)) = link::take_frame(&mut buffer) {
            taken.extend_from_slice(&link::frame(&frame));
        }
        taken.extend_from_slice(&buffer);
        assert_eq!(taken, bytes);
    }
    if let Ok(Some(message)) = decode_to_master(Bytes::copy_from_slice(bytes)) {
        let encoded = encode_to_master(&message);
        let again =
            decode_to_master(encoded.clone()).expect("what was encoded decodes").expect("of the same type");
        assert_eq!(encode_to_master(&again), encoded);
    }
    if let Ok(Some(message)) = decode_to_agent(Bytes::copy_from_slice(bytes)) {
        let encoded = encode_to_agent(&message);
        let again =
            decode_to_agent(encoded.clone()).expect("what was encoded decodes").expect("of the same type");
        assert_eq!(encode_to_agent(&again), encoded);
    }
});
