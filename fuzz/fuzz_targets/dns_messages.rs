//! DNS messages, of Pods and of name servers: nothing panics, an answer is no longer than it may be, and records that are written, with
//! their names compressed, read as they were.
#![no_main]

use executor_core::dns::message::{Code, Data, Query, Sections, read_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(query) = Query::parse(bytes) else { return };
    // The rest of the message as the answer of another server to the same question.
    let own = Query::new(0x0102, &query.name, query.kind);
    let mut answer = bytes.to_vec();
    answer[..2].copy_from_slice(&[1, 2]);
    answer[2] |= 0x80;
    let Some((_, records)) = read_answer(&own, &answer) else { return };
    for max in [query.udp_max(), 65_535] {
        let sections = Sections { answers: &records, ..Sections::default() };
        let written = query.answer(Code::NoError, sections, max);
        assert!(written.len() <= max.max(query.bytes().len() + 11));
        if query.name.contains('\\') || written[2] & 2 != 0 {
            continue;
        }
        let mut written = written;
        written[..2].copy_from_slice(&[1, 2]);
        let (_, read) = read_answer(&own, &written).expect("it is an answer to the question");
        let readable = |data: &Data| !matches!(data, Data::Txt(_) | Data::Srv { .. } | Data::Soa { .. });
        let wanted: Vec<_> = records.iter().filter(|record| readable(&record.data)).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), wanted);
    }
});
