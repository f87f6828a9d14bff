//! What upstream's parser makes of a scalar without quotes: YAML 1.1, as the Go package has it. The parser of this server knows
//! YAML 1.2, whose numbers, booleans and nulls are the same; what it takes for a text may be something else here.

use serde_json::Value;

/// A scalar that the parser takes for a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    /// It is one.
    Text,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// `<<`: the value's members are merged into the mapping.
    Merge,
}

/// Whether a scalar without quotes and tag, which YAML 1.2 takes for a text, is one.
pub(crate) fn is_text(scalar: &str) -> bool {
    resolve(scalar) == Scalar::Text
}

/// Resolves a scalar without quotes and tag.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Scalar::Bool(false),
        "<<" => return Scalar::Merge,
        _ => {}
    }
    // Others are numbers if they begin as one. Times stay texts, and there are no numbers to base sixty.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) || is_time(text) {
        return Scalar::Text;
    }
    let plain = text.replace('_', "");
    if text.starts_with('.') {
        return separates_digits(text).then(|| plain.parse().ok()).flatten().map_or(Scalar::Text, finite);
    }
    match integer(&plain) {
        Some(Scalar::Text) | None if is_float(&plain) => plain.parse().map_or(Scalar::Text, finite),
        found => found.unwrap_or(Scalar::Text),
    }
}

/// Whether each underscore stands between two digits.
fn separates_digits(text: &str) -> bool {
    let is_digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    text.match_indices('_').all(|(at, _)| is_digit(bytes.get(at + 1)) && is_digit(bytes[..at].last()))
}

fn finite(number: f64) -> Scalar {
    if number.is_finite() { Scalar::Float(number) } else { Scalar::Text }
}

/// An integer with Go's prefixes: `0x`, `0o`, `0b`, and `0` for octal.
fn integer(plain: &str) -> Option<Scalar> {
    // Go's YAML package reads the sign behind this prefix too.
    if let Some(signed) = plain.strip_prefix("0b").filter(|rest| rest.starts_with(['+', '-'])) {
        return i64::from_str_radix(signed, 2).ok().map(Scalar::Int);
    }
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match prefix.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(octal) if octal.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| (digit as char).is_digit(radix)) {
        return None;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    match i64::from_str_radix(&signed, radix) {
        Ok(number) => Some(Scalar::Int(number)),
        // A sign makes it no unsigned number.
        Err(_) if plain.starts_with(['-', '+']) => None,
        Err(_) => u64::from_str_radix(digits, radix).ok().map(Scalar::Uint),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_number = match number.split_once('.') {
        None => digits(number),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    is_number && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

/// Whether the text begins with a date of four digits, as all times do.
fn is_time(text: &str) -> bool {
    let year = text.bytes().take_while(u8::is_ascii_digit).count();
    year == 4 && text.as_bytes().get(4) == Some(&b'-')
}

/// A float as Go's JSON writes it, and as it is read from there: without a fraction it is an integer. `None` if JSON has no
/// such number.
pub(super) fn float(number: f64) -> Option<Value> {
    /// The first float that is no `i64`.
    const INTEGER_END: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-INTEGER_END..INTEGER_END).contains(&number) {
        return Some((number as i64).into());
    }
    serde_json::Number::from_f64(number).map(Value::Number)
}

/// A float as the name of a member: the shortest form that is read as the same number of 32 bits.
pub(super) fn float_name(number: f64) -> String {
    match number {
        number if number.is_nan() => ".nan".to_owned(),
        number if number.is_infinite() => if number > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        number => {
            let short = number as f32;
            let scientific = format!("{short:e}");
            let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
            // Go's `%g` with the shortest precision.
            match (scientific.split_once('e'), exponent) {
                (Some((digits, _)), Some(exponent)) if !(-4..21).contains(&exponent) => {
                    let sign = if exponent < 0 { '-' } else { '+' };
                    format!("{digits}e{sign}{:02}", exponent.abs())
                }
                _ => short.to_string(),
            }
        }
    }
}

/// A value as Go's `%#v` prints what a parsed document has.
pub(super) fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::from(name.as_str()), go_syntax(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", members.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        let cases = [
            ("yes", Scalar::Bool(true)),
            ("Y", Scalar::Bool(true)),
            ("oFF", Scalar::Text),
            ("off", Scalar::Bool(false)),
            ("n", Scalar::Bool(false)),
            ("<<", Scalar::Merge),
            ("0777", Scalar::Int(511)),
            ("-0777", Scalar::Int(-511)),
            ("0o777", Scalar::Int(511)),
            ("0O17", Scalar::Int(15)),
            ("0X1f", Scalar::Int(31)),
            ("-0b101", Scalar::Int(-5)),
            ("1_000", Scalar::Int(1000)),
            ("0_7", Scalar::Int(7)),
            ("+12", Scalar::Int(12)),
            ("0899", Scalar::Float(899.0)),
            ("0b+11", Scalar::Int(3)),
            ("0b-11", Scalar::Int(-3)),
            ("0b-", Scalar::Text),
            ("0x-1", Scalar::Text),
            ("0b12", Scalar::Text),
            ("0x", Scalar::Text),
            ("18446744073709551615", Scalar::Uint(u64::MAX)),
            ("18446744073709551616", Scalar::Float(18_446_744_073_709_551_616.0)),
            ("-18446744073709551615", Scalar::Float(-18_446_744_073_709_551_615.0)),
            ("1_0.5", Scalar::Float(10.5)),
            ("1.", Scalar::Float(1.0)),
            ("-.5e1", Scalar::Float(-5.0)),
            (".5", Scalar::Float(0.5)),
            (".5_0", Scalar::Float(0.5)),
            (".1e1_0", Scalar::Float(1e9)),
            ("._5", Scalar::Text),
            (".5_", Scalar::Text),
            (".5__0", Scalar::Text),
            (".1_e1", Scalar::Text),
            (".", Scalar::Text),
            ("1e", Scalar::Text),
            ("1e999", Scalar::Text),
            ("12:30:45", Scalar::Text),
            ("2001-12-14", Scalar::Text),
            ("1.2.3", Scalar::Text),
            ("-", Scalar::Text),
            ("+", Scalar::Text),
            ("_1", Scalar::Text),
            ("0x1p4", Scalar::Text),
            ("inf", Scalar::Text),
            ("é", Scalar::Text),
            ("0é", Scalar::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), expected, "{text}");
        }
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let names = [1.5, 1e21, 1e-5, 0.1, 100000.0, 1e20, f64::NAN, f64::NEG_INFINITY].map(float_name);
        assert_eq!(
            names,
            ["1.5", "1e+21", "1e-05", "0.1", "100000", "100000000000000000000", ".nan", "-.inf"]
        );
        assert_eq!(float(3.0), Some(Value::from(3)));
        assert_eq!(float(1e19), Some(Value::from(1e19)));
        assert_eq!(float(f64::INFINITY), None);
    }
}
