//! SPDY/3.1 frames: no bytes panic, and what decodes encodes to frames that decode to the same. The module is included
//! by its path, so that this target does not build the whole executor.
#![no_main]
#![allow(dead_code)]

#[path = "../../kubelet-executor/src/server/streams/dictionary.rs"]
mod dictionary;
#[path = "../../kubelet-executor/src/server/streams/spdy.rs"]
mod spdy;

use libfuzzer_sys::fuzz_target;
use spdy::{Decoder, Encoder, Frame};

/// The frames of these bytes up to the first error.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().ok().flatten()).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let found = frames(bytes);
    let known = |frame: &&Frame| !matches!(frame, Frame::Unknown { .. } | Frame::Settings);
    let mut encoder = Encoder::default();
    let encoded: Vec<u8> = found.iter().filter(known).flat_map(|frame| encoder.encode(frame)).collect();
    assert_eq!(frames(&encoded).iter().collect::<Vec<_>>(), found.iter().filter(known).collect::<Vec<_>>());
});
