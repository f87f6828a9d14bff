//! Tests of canonical forms and exact order, and properties of arbitrary quantities.

use super::*;
use expect_test::expect;
use proptest::prelude::*;

#[test]
fn canonical_forms() {
    let table: Vec<String> = [
        "0",
        "0.0Gi",
        "1",
        "1000",
        "0.5",
        ".5",
        "5.",
        "1.5Gi",
        "1024",
        "1024Ki",
        "1500Mi",
        "0.1m",
        "100e-3",
        "1e3",
        "2E6",
        "1E",
        "12345678901234567890",
        "10E",
        "2000E",
        "3e21",
        "0.5Ki",
        "-1.5",
        "1n",
        "0.0000000001",
        "1000Ki",
        "9223372036854775807",
        "8Ei",
        "100Mi",
        "1.0M",
        "0.1Mi",
        "",
        ".",
        "1.2.3",
        "1x",
        "1 Gi",
        "Mi",
        "1ki",
        "1e",
        "--1",
        "1Gi1",
    ]
    .iter()
    .map(|t| format!("{t} -> {}", Quantity::canonical(t).unwrap_or_else(|e| format!("{e:?}"))))
    .collect();
    expect![[r#"
        0 -> 0
        0.0Gi -> 0
        1 -> 1
        1000 -> 1k
        0.5 -> 500m
        .5 -> 500m
        5. -> 5
        1.5Gi -> 1536Mi
        1024 -> 1024
        1024Ki -> 1Mi
        1500Mi -> 1500Mi
        0.1m -> 100u
        100e-3 -> 100e-3
        1e3 -> 1e3
        2E6 -> 2e6
        1E -> 1E
        12345678901234567890 -> 12345678901234567890
        10E -> 10E
        2000E -> 2
        3e21 -> 3e21
        0.5Ki -> 512
        -1.5 -> -1500m
        1n -> 1n
        0.0000000001 -> 1n
        1000Ki -> 1000Ki
        9223372036854775807 -> 9223372036854775807
        8Ei -> 9223372036854775807
        100Mi -> 100Mi
        1.0M -> 1M
        0.1Mi -> 104857600m
         -> Form
        . -> Form
        1.2.3 -> Form
        1x -> Form
        1 Gi -> Form
        Mi -> Form
        1ki -> Suffix
        1e -> Suffix
        --1 -> Form
        1Gi1 -> Suffix"#]]
    .assert_eq(&table.join("\n"));
}

/// Checked against big integers, as the fuzz target `quantities` does.
#[test]
fn long_numbers_are_rounded_up_exactly() {
    let nano = |text: &str| text.parse::<Quantity>().unwrap().nano;
    // Zeros behind the point do not count as digits.
    assert_eq!(nano("0.00000000000000000000000000001e30"), 10 * NANO);
    // The digit behind the last nano-unit rounds up.
    assert_eq!(nano("1234567890123456789.1234567891"), 1_234_567_890_123_456_789_123_456_790);
    // The product with the suffix exceeds 128 bits.
    assert_eq!(nano("0.1234567890123456789012345678Ei"), 142_335_986_942_043_633_765_524_428);
    assert_eq!(nano("0.0000000000000000000000000000000000000000000000000000000012Ei"), 1);
    assert_eq!(nano("99999999999999999999999999999999999999999999Ei"), MAX_NANO);
    assert_eq!(nano("1e-2147483648"), 1);
}

proptest! {
    #[test]
    fn printing_and_parsing_round_trip(milli in any::<i32>(), suffix in prop::sample::select(vec!["", "m", "u", "n", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3"])) {
        let q: Quantity = format!("{milli}{suffix}").parse().unwrap();
        let printed = q.to_string();
        let again: Quantity = printed.parse().unwrap();
        prop_assert_eq!(again, q);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn order_is_that_of_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
        let (qa, qb): (Quantity, Quantity) = (format!("{a}m").parse().unwrap(), format!("{b}000u").parse().unwrap());
        prop_assert_eq!(qa.cmp(&qb), a.cmp(&b));
        prop_assert_eq!(qa.plus(qb), Quantity::from_milli(a + b));
    }

    #[test]
    fn garbage_never_panics(text in "[-+0-9.eEinumkKMGTPx ]{0,60}") {
        let _ = text.parse::<Quantity>();
    }
}

#[test]
fn differences_keep_the_format_and_rounding_goes_away_from_zero() {
    let parse = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(parse("1Gi").minus(parse("512Mi")).to_string(), "512Mi");
    assert_eq!(parse("0").minus(parse("1Ki")).to_string(), "-1Ki");
    assert_eq!(parse("1").minus(parse("250m")).to_string(), "750m");
    assert_eq!(parse("1500m").rounded_up_to_units().to_string(), "2");
    assert_eq!(parse("-1500m").rounded_up_to_units().to_string(), "-2");
}
