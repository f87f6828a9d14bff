//! Frames and messages of the agent link.
#![no_main]

use bytes::{Bytes, BytesMut};
use kernel_wire::link;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A frame's length is announced first; a length that the input cannot have needs no memory here.
    if bytes.first().is_none_or(|high| *high == 0) {
        let mut buffer = BytesMut::from(bytes);
        while let Ok(Some(_)) = link::take_frame(&mut buffer) {}
    }
    let _ = link::decode_to_master(Bytes::copy_from_slice(bytes));
    let _ = link::decode_to_agent(Bytes::copy_from_slice(bytes));
});
