//! Small logs with lines that span records, rendered with every option.

use super::*;

/// The line `two` of standard error is in two parts, with a line of standard output between them.
const RECORDS: [&str; 6] = [
    "2026-01-01T00:00:01.5Z stdout F one\r\n",
    "2026-01-01T00:00:02Z stderr P tw\n",
    "2026-01-01T00:00:03Z stdout F between\n",
    "2026-01-01T00:00:03Z stderr P o\n",
    "2026-01-01T00:00:04Z stderr F \n",
    "2026-01-01T00:00:05.000000001Z stdout F last\n",
];

fn rendered(options: RenderOptions, records: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut renderer = LogRenderer::new(options);
    for record in records {
        renderer.render(record, &mut out);
    }
    out
}

fn text(options: RenderOptions) -> String {
    String::from_utf8(rendered(options, &RECORDS.map(str::as_bytes))).unwrap()
}

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn options_select_streams_and_lines_and_bytes() {
    let all = RenderOptions::default();
    let stdout = RenderOptions { streams: StreamSelection::parse("Stdout").unwrap(), ..all };
    let stderr = RenderOptions { streams: StreamSelection::parse("Stderr").unwrap(), ..all };
    assert_eq!(text(all), "one\r\ntwbetween\no\nlast\n");
    assert_eq!(text(stdout), "one\r\nbetween\nlast\n");
    assert_eq!(text(stderr), "two\n");
    assert_eq!(text(RenderOptions { limit_bytes: Some(3), ..stderr }), "two");
    assert_eq!(text(RenderOptions { limit_bytes: Some(7), ..all }), "one\r\ntw");
    assert_eq!(
        text(RenderOptions { timestamps: true, ..stderr }),
        "2026-01-01T00:00:02.000000000Z two\n",
        "one timestamp per line, that of its first part"
    );
    assert_eq!(
        text(RenderOptions { timestamps: true, ..stdout }).lines().next(),
        Some("2026-01-01T00:00:01.500000000Z one")
    );
    let since = RenderOptions { since: at("2026-01-01T00:00:03Z"), ..all };
    assert_eq!(text(since), "between\nlast\n", "a line that began earlier is omitted as a whole");
    assert_eq!(StreamSelection::parse("stdout"), None);
}

#[test]
fn all_bytes_are_kept() {
    let record = b"2026-01-01T00:00:01Z stdout F a\r b\xff\r\n";
    assert_eq!(rendered(RenderOptions::default(), &[record]), b"a\r b\xff\r\n");
}

#[test]
fn timestamps_have_nine_digits() {
    let table = [
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:01.000000000Z"),
        ("2026-01-01T00:00:01.12+02:00", "2026-01-01T00:00:01.120000000+02:00"),
        ("2026-01-01T00:00:01.123456789-05:30", "2026-01-01T00:00:01.123456789-05:30"),
    ];
    for (given, expected) in table {
        assert_eq!(fixed_width(given), expected);
    }
}

#[test]
fn the_last_lines_begin_at_their_first_parts() {
    let starts = |lines| {
        let mut finder = TailFinder::new(lines);
        for (position, record) in RECORDS.iter().enumerate().rev() {
            if finder.is_done() {
                break;
            }
            finder.take(record.as_bytes(), position);
        }
        (finder.start(Stream::Stdout), finder.start(Stream::Stderr))
    };
    let table = [
        (0, (None, None)),
        (1, (Some(5), None)),
        (2, (Some(5), Some(1))),
        (3, (Some(2), Some(1))),
        (4, (Some(0), Some(1))),
        (9, (Some(0), Some(1))),
    ];
    for (lines, expected) in table {
        assert_eq!(starts(lines), expected, "{lines} lines");
    }
}

#[test]
fn an_incomplete_last_line_counts() {
    let mut finder = TailFinder::new(1);
    finder.take(b"2026-01-01T00:00:01Z stdout P b\n", 2);
    finder.take(b"2026-01-01T00:00:01Z stdout P a\n", 1);
    finder.take(b"2026-01-01T00:00:01Z stdout F before\n", 0);
    assert!(finder.is_done());
    assert_eq!(finder.start(Stream::Stdout), Some(1));
}
