//! RecordIO: how the stream is split does not change its records, they are no longer than it, and framed records are read
//! back.
#![no_main]

use kernel_wire::recordio::{Decoder, RecordError, frame};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fn records(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<RecordError>) {
    let (mut decoder, mut found) = (Decoder::new(LIMIT), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => found.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = records(&[bytes]);
    let piece = bytes.first().map_or(1, |first| usize::from(first % 16).max(1));
    assert_eq!(records(&bytes.chunks(piece).collect::<Vec<_>>()), whole);
    let total: usize = whole.0.iter().map(Vec::len).sum();
    assert!(total <= bytes.len(), "records come from the input only");
    if bytes.len() <= LIMIT {
        let framed = frame(bytes);
        assert_eq!(records(&[&framed]), (vec![bytes.to_vec()], None));
    }
});
