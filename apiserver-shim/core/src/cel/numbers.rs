//! Numbers and durations as Go prints and parses them.

use std::fmt::Write as _;

/// A floating point number as Go's `%v` prints it: the shortest text that parses to it, with an exponent if it is below -4 or
/// at least 21.
pub(crate) fn go_float(value: f64) -> String {
    general(value, 21)
}

/// A floating point number as Go's `%g` prints it, which is how `string()` converts it.
pub(super) fn go_general(value: f64) -> String {
    general(value, 6)
}

fn general(value: f64, exponent_min: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_min).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Parses a duration of Go (`1h30m`, `-1.5s`, `300ms`) to nanoseconds.
pub fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let number = |digits: &str| if digits.is_empty() { Some(0i128) } else { digits.parse().ok() };
        total = total.checked_add(number(whole)?.checked_mul(unit)?)?;
        // More digits than a nanosecond has are cut.
        let cut = &fraction[..fraction.len().min(18)];
        total += number(cut)? * unit / 10i128.pow(cut.len() as u32);
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Prints a duration as Go does: `1h30m0s`, `1.5s`, `300ms`.
pub(crate) fn print_duration(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let mut out = String::from(if nanoseconds < 0 { "-" } else { "" });
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => {
            let _ = write!(out, "{magnitude}ns");
        }
        1_000..1_000_000 => {
            let _ = write!(out, "{}µs", fraction(magnitude, 1_000));
        }
        1_000_000..1_000_000_000 => {
            let _ = write!(out, "{}ms", fraction(magnitude, 1_000_000));
        }
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if seconds >= 60 {
                let _ = write!(out, "{minutes}m");
            }
            let _ = write!(out, "{}s", fraction(magnitude % 60_000_000_000, 1_000_000_000));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        let cases =
            [(5.0, "5"), (0.5, "0.5"), (1e21, "1e+21"), (1e20, "100000000000000000000"), (1e-5, "1e-05")];
        for (value, text) in cases {
            assert_eq!(go_float(value), text);
        }
        assert_eq!(go_general(1e6), "1e+06");
        assert_eq!(go_general(123_456.5), "123456.5");
    }

    #[test]
    fn durations_parse_and_print_as_in_go() {
        let cases = [
            ("1h30m", Some(5_400_000_000_000), "1h30m0s"),
            ("1.5s", Some(1_500_000_000), "1.5s"),
            ("-300ms", Some(-300_000_000), "-300ms"),
            ("2us", Some(2_000), "2µs"),
            ("61s", Some(61_000_000_000), "1m1s"),
            ("0", Some(0), "0s"),
            ("1", None, ""),
            ("", None, ""),
            ("1x", None, ""),
        ];
        for (text, expected, printed) in cases {
            assert_eq!(go_duration(text), expected, "{text}");
            expected.iter().for_each(|value| assert_eq!(print_duration(*value), printed));
        }
    }
}
