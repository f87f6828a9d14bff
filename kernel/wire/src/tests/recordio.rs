//! Framing: any split of the bytes gives the same records; garbage gives an error and never panics.

use proptest::prelude::*;

use crate::recordio::{Decoder, RecordError, frame};

proptest! {
    #[test]
    fn any_split_gives_the_same_records(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
        sizes in prop::collection::vec(1usize..50, 1..50),
    ) {
        let stream: Vec<u8> = records.iter().flat_map(|r| frame(r).to_vec()).collect();
        let mut decoder = Decoder::new(1024);
        let mut got = Vec::new();
        let (mut rest, mut sizes) = (stream.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((*sizes.next().expect("cycles")).min(rest.len()));
            rest = more;
            decoder.push(piece);
            while let Some(record) = decoder.next_record().expect("well framed") {
                got.push(record.to_vec());
            }
        }
        prop_assert_eq!(got, records);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(64);
        decoder.push(&bytes);
        while let Ok(Some(record)) = decoder.next_record() {
            prop_assert!(record.len() <= 64);
        }
    }
}

#[test]
fn lengths_are_bounded() {
    let mut decoder = Decoder::new(10);
    decoder.push(b"11\n");
    assert_eq!(decoder.next_record(), Err(RecordError::TooLong { length: 11, limit: 10 }));
    let mut decoder = Decoder::new(10);
    decoder.push(b"999999999999999999999");
    assert_eq!(decoder.next_record(), Err(RecordError::Length));
    let mut decoder = Decoder::new(10);
    decoder.push(b"1x\n");
    assert_eq!(decoder.next_record(), Err(RecordError::Length));
}
