use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub fn milli(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 20 || fraction.len() > 12 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (base, exponent) = scale(suffix)?;
    let scaled = mantissa.checked_mul(base)?.checked_mul(1000)?;
    let exponent = exponent - i32::try_from(fraction.len()).ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent >= 0 { scaled.checked_mul(power)? } else { (scaled + power - 1) / power };
    Some(if negative { -value } else { value })
}

pub fn units(quantity: &Quantity) -> Option<i64> {
    let milli = milli(quantity)?;
    let up = if milli > 0 { (milli + 999) / 1000 } else { milli / 1000 };
    Some(i64::try_from(up).unwrap_or(if up > 0 { i64::MAX } else { i64::MIN }))
}

fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (1, exponent.parse().ok().filter(|e: &i32| e.abs() <= 18)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("100m", Some(100)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("128974848", Some(128_974_848_000)),
            ("1u", Some(1)),
            ("-2", Some(-2000)),
            (".5", Some(500)),
            ("", None),
            ("five", None),
            ("1Zi", None),
            ("1e99", None),
            ("999999999999999999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(milli(&Quantity(text.to_owned())), expected, "{text}");
        }
        assert_eq!(units(&Quantity("1500m".to_owned())), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(text in ".{0,40}") {
            let _ = units(&Quantity(text));
        }
    }
}
