//! Kubernetes resource quantities such as `500m`, `1.5Gi` or `2e3`: parsed and compared exactly, printed in canonical
//! form. The value is an integer of nano-units in 128 bits, which represents every quantity that the API accepts without
//! rounding. A crate of its own, since both the API server and the node's executor parse quantities.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Quantities with binary suffixes are capped at 2^63-1 units.
const MAX_NANO: i128 = (i64::MAX as i128) * NANO;
/// Others are capped at 10^29 units, which 128 bits represent. Upstream has no bound for them.
const MAX_DECIMAL_NANO: i128 = 10i128.pow(38);

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

    /// A quantity of thousandths of bytes, printed with binary suffixes if it is whole.
    pub const fn from_milli_bytes(milli: i64) -> Self {
        Quantity { nano: milli as i128 * 1_000_000, format: Format::BinarySi }
    }

    /// The value in units, rounded away from zero.
    pub fn units(self) -> i64 {
        clamp(round_away(self.nano, NANO))
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli(self) -> i64 {
        clamp(round_away(self.nano, 1_000_000))
    }

    /// The quantity in whole thousandths, rounded away from zero, in the same format.
    pub fn rounded_up_to_milli(self) -> Quantity {
        let nano = round_away(self.nano, 1_000_000) * 1_000_000;
        Quantity { nano, format: self.format }
    }

    /// The quantity in whole units, rounded away from zero, in the same format.
    pub fn rounded_up_to_units(self) -> Quantity {
        Quantity { nano: round_away(self.nano, NANO) * NANO, format: self.format }
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
        let nano = self.nano.saturating_add(other.nano).clamp(-MAX_DECIMAL_NANO, MAX_DECIMAL_NANO);
        Quantity { nano, format }
    }

    /// The difference, in the format of `self` (or of `other` if `self` is zero).
    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(Quantity { nano: -other.nano, format: other.format })
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
        let most = if format == Format::BinarySi { MAX_NANO } else { MAX_DECIMAL_NANO };
        let nano = magnitude(whole, fraction, scale).map_or(most, |nano| nano.min(most));
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

/// `whole.fraction` times the scale in nano-units, rounded up; `None` if it is beyond 128 bits.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> Option<i128> {
    // 36 digits fit into 128 bits. More matter only for rounding up, which `sticky` decides, and for the cap.
    const DIGITS_MAX: usize = 36;
    let digits = || whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0');
    let dropped = digits().count().saturating_sub(DIGITS_MAX);
    let sticky = dropped > 0 && digits().skip(DIGITS_MAX).any(|digit| digit != b'0');
    let kept = digits().take(DIGITS_MAX);
    let mantissa = kept.fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    if mantissa == 0 {
        return Some(0);
    }
    let (two, ten) = match scale {
        Scale::Ten(ten) => (0, ten),
        Scale::Two(two) => (two, 0),
    };
    let power = dropped as i64 - fraction.len() as i64 + 9 + i64::from(ten);
    let nano = match mantissa.checked_mul(1 << two) {
        Some(product) => shift_ten(product, power),
        None => shift_both(mantissa, two, power),
    };
    nano.and_then(|(whole, rest)| i128::try_from(whole).ok()?.checked_add(i128::from(rest || sticky)))
}

/// `mantissa` times a power of ten: the whole part and whether there is a rest; `None` if it does not fit.
fn shift_ten(mantissa: u128, power: i64) -> Option<(u128, bool)> {
    let ten = u32::try_from(power.unsigned_abs()).ok().and_then(|power| 10u128.checked_pow(power));
    match (ten, power >= 0) {
        (Some(ten), true) => Some((mantissa.checked_mul(ten)?, false)),
        (Some(ten), false) => Some((mantissa / ten, !mantissa.is_multiple_of(ten))),
        (None, true) => None,
        (None, false) => Some((0, true)),
    }
}

/// `mantissa` times powers of two and of ten, where the product with the first does not fit: the twos of the power of ten
/// are cancelled, and the others are multiplied after the division, one by one.
fn shift_both(mantissa: u128, two: u32, power: i64) -> Option<(u128, bool)> {
    if power >= 0 {
        // The product is above the cap already.
        return None;
    }
    let ten = u32::try_from(power.unsigned_abs()).unwrap_or(u32::MAX);
    let cancelled = two.min(ten);
    let divisor =
        5u128.checked_pow(ten).and_then(|five| five.checked_mul(1u128.checked_shl(ten - cancelled)?));
    // A remainder must be doubled; the mantissa, times two to the power of 60, is below such a divisor.
    let Some(divisor) = divisor.filter(|divisor| *divisor <= u128::MAX / 2) else { return Some((0, true)) };
    let (mut whole, mut rest) = (mantissa / divisor, mantissa % divisor);
    for _ in 0..two - cancelled {
        rest *= 2;
        whole = whole.checked_mul(2)? + u128::from(rest >= divisor);
        rest %= divisor;
    }
    Some((whole, rest != 0))
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
    while value % 1000 == 0 {
        value /= 1000;
        step += 1;
    }
    let power = step as i32 * 3 - 9;
    match (exponent, power) {
        (true, 0) => write!(f, "{value}"),
        (true, _) => write!(f, "{value}e{power}"),
        // As upstream, powers without a suffix are not shown.
        (false, _) => write!(f, "{value}{}", SUFFIX.get(step).unwrap_or(&"")),
    }
}

#[cfg(test)]
mod tests;
