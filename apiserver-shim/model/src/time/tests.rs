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
