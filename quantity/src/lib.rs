//! Kubernetes resource quantities such as `500m`, `1.5Gi` or `2e3`: parsed and compared exactly, printed in canonical
//! form. The value is an integer of nano-units in 128 bits, which represents every quantity that the API accepts without
//! rounding. A crate of its own, since both the API server and the node's executor parse quantities.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Quantities are capped at 2^63-1 units.
const MAX_NANO: i128 = (i64::MAX as i128) * NANO;

/// The suffix family in which a quantity was written and is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// An exact quantity.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is not of the form sign, digits, suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// No units.
    pub const ZERO: Quantity = Quantity { nano: 0, format: Format::DecimalSi };

    /// A quantity of whole units.
    pub const fn from_units(units: i64) -> Self {
        Quantity { nano: units as i128 * NANO, format: Format::DecimalSi }
    }

    /// A quantity of thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Quantity { nano: milli as i128 * 1_000_000, format: Format::DecimalSi }
    }

    /// A quantity of bytes, printed with binary suffixes.
    pub const fn from_bytes(bytes: i64) -> Self {
        Quantity { nano: bytes as i128 * NANO, format: Format::BinarySi }
    }

    /// The value in units, rounded away from zero.
    pub fn units(self) -> i64 {
        clamp(round_away(self.nano, NANO))
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli(self) -> i64 {
        clamp(round_away(self.nano, 1_000_000))
    }

    /// -1, 0 or 1.
    pub fn sign(self) -> i32 {
        self.nano.signum() as i32
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nano % NANO == 0
    }

    /// The sum, in the format of `self` (or of `other` if `self` is zero).
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.nano == 0 { other.format } else { self.format };
        Quantity { nano: (self.nano + other.nano).clamp(-MAX_NANO, MAX_NANO), format }
    }

    /// The canonical form of a quantity's text.
    pub fn canonical(text: &str) -> Result<String, QuantityError> {
        text.parse::<Quantity>().map(|q| q.to_string())
    }
}

fn round_away(nano: i128, unit: i128) -> i128 {
    let quotient = nano / unit;
    if nano % unit == 0 { quotient } else { quotient + nano.signum() }
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN as i128, i64::MAX as i128) as i64
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        let (scale, format) = suffix_scale(suffix)?;
        let nano = magnitude(whole, fraction, scale);
        Ok(Quantity { nano: if text.starts_with('-') { -nano } else { nano }, format })
    }
}

/// The factor of a suffix: a power of ten or of two.
enum Scale {
    Ten(i32),
    Two(u32),
}

fn suffix_scale(suffix: &str) -> Result<(Scale, Format), QuantityError> {
    let decimal = |power| Ok((Scale::Ten(power), Format::DecimalSi));
    let binary = |power| Ok((Scale::Two(power), Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| {
                if suffix.bytes().all(|b| b"eEinumkKMGTP+-0123456789".contains(&b)) {
                    QuantityError::Suffix
                } else {
                    QuantityError::Form
                }
            })?;
            let power = exponent.parse::<i32>().map_err(|_| QuantityError::Suffix)?;
            Ok((Scale::Ten(power), Format::DecimalExponent))
        }
    }
}

/// `whole.fraction` times the scale in nano-units, rounded up and capped.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // More digits matter only for rounding up and for the cap; `sticky` and the kept digits decide both.
    const DIGITS_MAX: usize = 28;
    let digits = || whole.trim_start_matches('0').bytes().chain(fraction.bytes());
    let dropped = digits().count().saturating_sub(DIGITS_MAX);
    let sticky = dropped > 0 && digits().skip(DIGITS_MAX).any(|b| b != b'0');
    let kept = digits().take(DIGITS_MAX);
    let mut mantissa = kept.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    if mantissa == 0 && !sticky {
        return 0;
    }
    let mut power = dropped as i64 - fraction.len() as i64 + 9;
    match scale {
        Scale::Ten(p) => power += i64::from(p),
        Scale::Two(p) => match mantissa.checked_mul(1i128 << p) {
            Some(m) => mantissa = m,
            None => return two_wide(mantissa, p, power),
        },
    }
    shift_ten(mantissa, power, sticky)
}

/// Multiplies by a power of two where the product overflows: divides by the powers of ten of the fraction first, and
/// caps what still overflows.
fn two_wide(mantissa: i128, two: u32, power: i64) -> i128 {
    let mut mantissa = mantissa;
    let mut power = power;
    while power < 0 && mantissa.checked_mul(1i128 << two).is_none() {
        mantissa = round_away(mantissa, 10);
        power += 1;
    }
    mantissa.checked_mul(1i128 << two).map_or(MAX_NANO, |m| shift_ten(m, power, false))
}

fn shift_ten(mantissa: i128, power: i64, sticky: bool) -> i128 {
    if power >= 0 {
        let scaled = 10i128.checked_pow(power.min(64) as u32).and_then(|ten| mantissa.checked_mul(ten));
        scaled.unwrap_or(MAX_NANO).min(MAX_NANO)
    } else {
        let Some(ten) = 10i128.checked_pow((-power).min(64) as u32) else { return 1 };
        let up = mantissa % ten != 0 || sticky;
        (mantissa / ten + i128::from(up)).min(MAX_NANO)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let whole_kibi = self.nano % NANO == 0 && (self.nano / NANO).abs() >= 1024;
        match self.format {
            Format::BinarySi if whole_kibi => fmt_binary(f, self.nano / NANO),
            Format::DecimalExponent => fmt_decimal(f, self.nano, true),
            _ => fmt_decimal(f, self.nano, false),
        }
    }
}

fn fmt_binary(f: &mut fmt::Formatter<'_>, units: i128) -> fmt::Result {
    const SUFFIX: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let (mut value, mut step) = (units, 0);
    while step < 6 && value % 1024 == 0 {
        value /= 1024;
        step += 1;
    }
    write!(f, "{value}{}", SUFFIX[step])
}

fn fmt_decimal(f: &mut fmt::Formatter<'_>, nano: i128, exponent: bool) -> fmt::Result {
    const SUFFIX: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let (mut value, mut step) = (nano, 0);
    while step < 9 && value % 1000 == 0 {
        value /= 1000;
        step += 1;
    }
    let power = step as i32 * 3 - 9;
    match (exponent, power) {
        (true, 0) => write!(f, "{value}"),
        (true, _) => write!(f, "{value}e{power}"),
        (false, _) => write!(f, "{value}{}", SUFFIX[step]),
    }
}

#[cfg(test)]
mod tests;
