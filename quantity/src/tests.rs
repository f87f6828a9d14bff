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
        5. -> 5.
        1.5Gi -> 1536Mi
        1024 -> 1024
        1024Ki -> 1Mi
        1500Mi -> 1500Mi
        0.1m -> 100u
        100e-3 -> 100e-3
        1e3 -> 1e3
        2E6 -> 2E6
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
    // Zero is not rounded up, whatever its power.
    for zero in ["0.e-170", "0e-2147483648", "-0.00e-48", "0e2147483647", "0.0Ei"] {
        assert_eq!(nano(zero), 0, "{zero}");
    }
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

/// What kube-apiserver 1.36 stores in a ResourceQuota.
#[test]
fn texts_that_upstream_takes_for_canonical_are_kept() {
    for (text, stored) in [
        ("+5", "+5"),
        ("1.500", "1.500"),
        ("05", "05"),
        ("0.500", "500m"),
        ("007Ki", "007Ki"),
        ("1.500k", "1.500k"),
        ("9.0Ki", "9Ki"),
        ("+9Ki", "+9Ki"),
        ("1.000", "1"),
        ("1.500e3", "1.500e3"),
        ("1500000.000", "1500k"),
        ("1E+3", "1E+3"),
        ("1e03", "1e03"),
        ("5.k", "5.k"),
        ("-0", "0"),
        ("00", "0"),
        ("+1e30", "+1e30"),
        ("0123456789012345678", "0123456789012345678"),
        ("01m", "01m"),
        ("7Ei", "7Ei"),
        ("999Ei", "9223372036854775807"),
        ("1E-3", "1E-3"),
    ] {
        assert_eq!(Quantity::canonical(text).as_deref(), Ok(stored), "{text}");
    }
}

/// What kube-apiserver 1.36 stores in a ResourceQuota. Of longer numbers 38 digits are kept, rounded up, and no power takes time.
#[test]
fn decimal_quantities_have_no_cap() {
    for (text, stored) in [
        ("1e29", "100e27"),
        ("1e30", "1e30"),
        ("1e31", "10e30"),
        ("1.5e30", "1500e27"),
        ("12345678901234567890123456789012", "12345678901234567890123456789012"),
        ("1000000000000000000000000000001", "1000000000000000000000000000001"),
        ("-1e30", "-1e30"),
        ("1e100000", "10e99999"),
        ("100000000000000E", "100"),
        ("123456789012345678901234567890.1", "123456789012345678901234567890100m"),
        ("0.1e31", "1e30"),
        ("12e29", "1200e27"),
        ("10000e26", "1e30"),
        ("1e2147483647", "10e2147483646"),
        ("99999999999999999999999999999999999999.9e0", "100e36"),
    ] {
        assert_eq!(Quantity::canonical(text).as_deref(), Ok(stored), "{text}");
    }
}

#[test]
fn large_quantities_are_compared_added_and_rounded() {
    let parse = |text: &str| text.parse::<Quantity>().unwrap();
    let order =
        ["-1e31", "-1e30", "-1e29", "-1", "0", "1n", "1e28", "1e29", "1e30", "1e31", "1e99999"].map(parse);
    assert!(order.is_sorted() && order.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(parse("1e30").plus(parse("1e30")).to_string(), "2e30");
    assert_eq!(parse("1e30").plus(parse("1")).to_string(), "1000000000000000000000000000001");
    assert_eq!(parse("1e30").plus(parse("1")).minus(parse("1e30")), parse("1"));
    assert_eq!(parse("1e500").plus(parse("1")), parse("1e500"));
    assert_eq!(parse("90000000000e18").plus(parse("90000000000e18")).to_string(), "180e27");
    assert_eq!((parse("1e30").units(), parse("-1e30").milli()), (i64::MAX, i64::MIN));
    assert_eq!(
        parse("123456789012345678901234567890.123456").rounded_up_to_milli().to_string(),
        "123456789012345678901234567890124m"
    );
    assert_eq!(parse("99999999999999999999999999999.9").rounded_up_to_units(), parse("1e29"));
    assert!(parse("1e30").is_whole() && !parse("123456789012345678901234567890.5").is_whole());
}

proptest! {
    #[test]
    fn powers_of_ten_keep_order_and_sums(a in -999_999i64..1_000_000, b in -999_999i64..1_000_000, power in 0u32..200) {
        let of = |number: i64| format!("{number}e{power}").parse::<Quantity>().unwrap();
        prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
        prop_assert_eq!(of(a).plus(of(b)), of(a + b));
        prop_assert_eq!(of(a).minus(of(b)), of(a - b));
        let again: Quantity = of(a).to_string().parse().unwrap();
        prop_assert_eq!(again, of(a));
    }
}
