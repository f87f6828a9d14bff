//! Quantities: the value is that of exact arithmetic on big integers, rounded up to nano-units, and capped with binary suffixes; the
//! canonical form is a fixed point and has the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use num_bigint::BigUint;
use shim_model::quantity::Quantity;

/// Longer numbers may be rounded.
const DIGITS_MAX: usize = 36;
/// Larger powers would take big integers long, or round up to one nano-unit.
const POWER_MAX: i64 = 400;

/// The nano-units of an accepted text without its sign; `None` if it is out of this computation's bounds.
fn nano(text: &str) -> Option<BigUint> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: BigUint = format!("0{whole}{fraction}").parse().ok()?;
    let (two, ten) = match suffix {
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, "num kMGTPE".find(suffix).filter(|_| suffix.len() == 1).map_or(0, |at| at as i64 * 3 - 9)),
    };
    let exponent = match suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty() && two == 0) {
        Some(exponent) => exponent.parse::<i64>().ok()?,
        None => ten,
    };
    let power = exponent + 9 - fraction.len() as i64;
    let significant = digits.to_string().len();
    if power.abs() > POWER_MAX || significant > DIGITS_MAX {
        return None;
    }
    let scale = BigUint::from(10u8).pow(power.unsigned_abs() as u32);
    let scaled = digits << two;
    let exact: BigUint = if power >= 0 { scaled * scale } else { (scaled + &scale - 1u8) / scale };
    let most = BigUint::from(i64::MAX as u64) * 1_000_000_000u64;
    Some(if two == 0 { exact } else { exact.min(most) })
}

fuzz_target!(|text: &str| {
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    // As upstream, what is printed has no suffix for larger powers.
    let printable: Quantity = "1000E".parse().expect("a quantity");
    if quantity >= printable || Quantity::ZERO.minus(quantity) >= printable {
        return;
    }
    let canonical = quantity.to_string();
    let again: Quantity = canonical.parse().expect("the canonical form parses");
    assert_eq!(again, quantity, "{canonical}");
    // 62.5Ki prints as 64000, which prints as 64k: as upstream, only the value stays the same.
    let third: Quantity = again.to_string().parse().expect("what was printed parses");
    assert_eq!(third, quantity, "{canonical}");
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(nano) = nano(unsigned) {
        let (units, rest) = (&nano / 1_000_000_000u64, &nano % 1_000_000_000u64);
        let exact: Quantity = format!("{units}.{:0>9}", rest.to_string()).parse().expect("a decimal number");
        assert_eq!(
            again,
            if text.starts_with('-') { format!("-{exact}").parse().unwrap_or(exact) } else { exact }
        );
    }
    assert!(quantity.units().unsigned_abs() >= quantity.milli().unsigned_abs() / 1000);
    assert_eq!(quantity.plus(Quantity::ZERO), quantity);
});
