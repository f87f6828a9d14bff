//! RecordIO: how the stream is split does not change its records, and framed records are read back.
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

fuzz_target!(|input: (Vec<u8>, u16)| {
    let (bytes, at) = (&input.0, usize::from(input.1));
    let (head, tail) = bytes.split_at(at.min(bytes.len()));
    assert_eq!(records(&[bytes]), records(&[head, tail]));
    let framed = frame(bytes);
    if bytes.len() <= LIMIT {
        assert_eq!(records(&[&framed]), (vec![bytes.clone()], None));
    }
});
