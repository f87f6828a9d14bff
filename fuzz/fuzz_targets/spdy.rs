//! SPDY/3.1 frames: how the stream is split does not change its frames, and what decodes encodes to frames that decode to
//! the same. The module is included by its path, so that this target does not build the whole executor.
#![no_main]
#![allow(dead_code)]

#[path = "../../kubelet-executor/src/server/streams/dictionary.rs"]
mod dictionary;
#[path = "../../kubelet-executor/src/server/streams/spdy.rs"]
mod spdy;

use libfuzzer_sys::fuzz_target;
use spdy::{Decoder, Encoder, Frame};

/// The frames of these bytes up to the first error, which come in pieces of a length.
fn frames(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let (mut decoder, mut found) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let found = frames(bytes, bytes.len());
    let piece = bytes.first().map_or(1, |first| usize::from(first % 16));
    assert_eq!(frames(bytes, piece), found);
    let known = |frame: &&Frame| !matches!(frame, Frame::Unknown { .. } | Frame::Settings);
    let mut encoder = Encoder::default();
    let encoded: Vec<u8> = found.iter().filter(known).flat_map(|frame| encoder.encode(frame)).collect();
    assert_eq!(frames(&encoded, encoded.len()).iter().collect::<Vec<_>>(), found.iter().filter(known).collect::<Vec<_>>());
});
