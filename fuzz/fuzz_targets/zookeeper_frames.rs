//! ZooKeeper's messages: how the stream is split does not change its frames, what is read of them is no longer than they are, and
//! nothing that a server sends panics.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use zookeeper::codec;

fn frames(pieces: &[&[u8]]) -> (Vec<Bytes>, bool) {
    let (mut received, mut found) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            match codec::take_frame(&mut received) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = frames(&[bytes]);
    let piece = bytes.first().map_or(1, |first| usize::from(first % 16).max(1));
    assert_eq!(frames(&bytes.chunks(piece).collect::<Vec<_>>()), whole);
    for frame in whole.0 {
        let _ = codec::parse_connected(frame.clone());
        let _ = codec::parse_reply(frame.clone());
        if let Ok(children) = codec::parse_children(frame.clone()) {
            assert!(children.iter().map(String::len).sum::<usize>() <= frame.len());
        }
        if let Ok(data) = codec::parse_data(frame.clone()) {
            assert!(data.len() <= frame.len());
        }
        if let Ok(path) = codec::parse_path(frame.clone()) {
            assert!(path.len() <= frame.len());
        }
    }
});
