//! Round trips in pieces of any size; malformed input is refused without a panic.

use proptest::prelude::*;

use super::*;

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("[a-z-]{1,12}", ".{0,40}"), 0..6)
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1_u32..0x7fff_ffff;
    prop_oneof![
        (stream.clone(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(stream, fin, bytes)| Frame::Data { stream, fin, bytes: bytes.into() }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynStream {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
        Just(Frame::Settings),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        (stream.clone(), any::<u32>())
            .prop_map(|(last_stream, status)| Frame::GoAway { last_stream, status }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream.clone(), stream).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
    ]
}

proptest! {
    #[test]
    fn frames_round_trip(frames in proptest::collection::vec(frame(), 0..20), piece in 1_usize..64) {
        let mut encoder = Encoder::default();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encoder.encode(frame)).collect();
        let mut decoder = Decoder::default();
        let mut decoded = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u16..12) {
        let mut decoder = Decoder::default();
        let length = u32::try_from(bytes.len()).unwrap();
        decoder.push(&[&[0x80, 3][..], &kind.to_be_bytes(), &length.to_be_bytes(), &bytes].concat());
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }

    #[test]
    fn broken_headers_never_panic(frame in frame(), at in any::<usize>(), with in any::<u8>()) {
        let mut bytes = Encoder::default().encode(&frame).to_vec();
        let at = at % bytes.len();
        bytes[at] ^= with;
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

#[test]
fn a_long_frame_is_refused_by_its_header() {
    let mut decoder = Decoder::default();
    decoder.push(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]);
    assert_eq!(decoder.next_frame(), Err(SpdyError::TooLong(0xff_ffff)));
}
