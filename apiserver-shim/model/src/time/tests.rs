//! Tests of printed time stamps and ages.

use super::*;
use expect_test::expect;

#[test]
fn ages() {
    let text: Vec<String> = [
        -5,
        -1,
        0,
        119,
        120,
        599,
        600,
        10_799,
        10_800,
        28_799,
        28_800,
        172_800,
        176_400,
        691_200,
        63_072_000,
        63_158_400,
        252_288_000,
    ]
    .map(human_duration)
    .into();
    expect!["<invalid> 0s 0s 119s 2m 9m59s 10m 179m 3h 7h59m 8h 2d 2d1h 8d 2y 2y1d 8y"]
        .assert_eq(&text.join(" "));
    assert_eq!(age("", Instant(0)), "<unknown>");
}

#[test]
fn instants_round_trip() {
    let at = Instant(1_700_000_000_123_456);
    assert_eq!(at.to_rfc3339(), "2023-11-14T22:13:20Z");
    assert_eq!(at.to_rfc3339_micro(), "2023-11-14T22:13:20.123456Z");
    assert_eq!(Instant::parse(&at.to_rfc3339_micro()), Some(at));
    assert_eq!(Instant::parse("2023-11-14T23:13:20+01:00"), Some(Instant::from_seconds(at.seconds())));
    assert_eq!(Instant::parse("2023-11-14 23:13:20Z"), None);
}

#[test]
fn nanoseconds_have_as_many_decimals_as_they_need() {
    let shown = [0, 1_796_068_238_216_917_726, 1_796_068_238_500_000_000].map(rfc3339_nano);
    assert_eq!(shown, ["1970-01-01T00:00:00Z", "2026-11-30T19:50:38.216917726Z", "2026-11-30T19:50:38.5Z"]);
}

#[test]
fn times_are_read_as_in_go() {
    let read = [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "2024-02-29T5:04:05Z",
        "2024-02-29T05:04:05,5+05:30",
        "2024-02-29T05:04:05.1234567899-24:60",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
    ];
    let printed = read.map(|text| rfc3339_nano(parse_nanoseconds(text).unwrap()));
    expect![[r#"
        0000-01-01T00:00:00Z
        0001-01-01T00:00:00Z
        1969-12-31T23:59:59.999999999Z
        2024-02-29T05:04:05Z
        2024-02-28T23:34:05.5Z
        2024-03-01T06:04:05.123456789Z
        9999-12-31T23:59:59Z
        9999-12-31T23:59:59.999999999Z"#]]
    .assert_eq(&printed.join("\n"));
    let wrong = [
        "",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01t00:00:00Z",
        "2024-01-01T00:00:00z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00+25:00",
        "2024-01-01T00:00:00Z[UTC]",
        "+2024-01-01T00:00:00Z",
        "2024-1-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2024-01-0\u{661}T00:00:00Z",
    ];
    assert_eq!(wrong.map(parse_nanoseconds), [None; 18]);
}

proptest::proptest! {
    /// Where both can, this and `jiff` agree.
    #[test]
    fn times_are_those_of_a_library(at in -62_167_219_200_000_000_000_i128..253_402_200_000_000_000_000) {
        let theirs = jiff::Timestamp::from_nanosecond(at).unwrap();
        proptest::prop_assert_eq!(rfc3339_nano(at), theirs.to_string());
        proptest::prop_assert_eq!(parse_nanoseconds(&theirs.to_string()), Some(at));
    }
}
