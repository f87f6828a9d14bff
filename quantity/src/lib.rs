//! Kubernetes resource quantities such as `500m`, `1.5Gi` or `2e3`: parsed and compared exactly, printed in canonical
//! form. The value is an integer of nano-units in 128 bits; larger ones, from 10^29 units, have 38 significant digits and a power
//! of ten (upstream's have any number of digits). A crate of its own, since both the API server and the node's executor parse
//! quantities.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Quantities with binary suffixes are capped at 2^63-1 units.
const MAX_NANO: i128 = (i64::MAX as i128) * NANO;
/// What has so many digits, or more, has a power of ten. 128 bits represent one digit more.
const DIGITS: u32 = 38;
const LIMIT: i128 = 10i128.pow(DIGITS);

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
    /// The power of ten by which `nano` is multiplied. If it is not 0, `nano` has exactly [`DIGITS`] digits, so that equal values
    /// are represented equally.
    tens: u32,
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
    pub const ZERO: Quantity = Quantity { nano: 0, tens: 0, format: Format::DecimalSi };

    /// A quantity of whole units.
    pub const fn from_units(units: i64) -> Self {
        Quantity { nano: units as i128 * NANO, tens: 0, format: Format::DecimalSi }
    }

    /// A quantity of thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Quantity { nano: milli as i128 * 1_000_000, tens: 0, format: Format::DecimalSi }
    }

    /// A quantity of bytes, printed with binary suffixes.
    pub const fn from_bytes(bytes: i64) -> Self {
        Quantity { nano: bytes as i128 * NANO, tens: 0, format: Format::BinarySi }
    }

    /// A quantity of thousandths of bytes, printed with binary suffixes if it is whole.
    pub const fn from_milli_bytes(milli: i64) -> Self {
        Quantity { nano: milli as i128 * 1_000_000, tens: 0, format: Format::BinarySi }
    }

    /// Of a value in nano-units times a power of ten. Digits beyond [`DIGITS`] are rounded away from zero.
    fn new(mut nano: i128, mut tens: u32, format: Format) -> Quantity {
        while nano.abs() >= LIMIT {
            nano = round_away(nano, 10);
            tens = tens.saturating_add(1);
        }
        if nano == 0 {
            tens = 0;
        }
        while tens > 0 && nano.abs() < LIMIT / 10 {
            nano *= 10;
            tens -= 1;
        }
        Quantity { nano, tens, format }
    }

    /// The value in units, rounded away from zero.
    pub fn units(self) -> i64 {
        self.clamped(NANO)
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli(self) -> i64 {
        self.clamped(1_000_000)
    }

    fn clamped(self, unit: i128) -> i64 {
        // With a power of ten it is above 10^28 units.
        clamp(if self.tens == 0 { round_away(self.nano, unit) } else { self.nano })
    }

    /// The quantity in whole thousandths, rounded away from zero, in the same format.
    pub fn rounded_up_to_milli(self) -> Quantity {
        self.rounded_up(1_000_000)
    }

    /// The quantity in whole units, rounded away from zero, in the same format.
    pub fn rounded_up_to_units(self) -> Quantity {
        self.rounded_up(NANO)
    }

    fn rounded_up(self, unit: i128) -> Quantity {
        let unit = self.of_own_power(unit);
        Quantity::new(round_away(self.nano, unit) * unit, self.tens, self.format)
    }

    /// So many nano-units, a power of ten, in the multiple of this quantity.
    fn of_own_power(self, unit: i128) -> i128 {
        10i128.checked_pow(self.tens).map_or(1, |power| (unit / power).max(1))
    }

    /// -1, 0 or 1.
    pub fn sign(self) -> i32 {
        self.nano.signum() as i32
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nano % self.of_own_power(NANO) == 0
    }

    /// The sum, in the format of `self` (or of `other` if `self` is zero).
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.nano == 0 { other.format } else { self.format };
        let tens = self.tens.max(other.tens);
        let (one, two) = (self.at_power(tens), other.at_power(tens));
        match one.checked_add(two) {
            Some(sum) => Quantity::new(sum, tens, format),
            None => Quantity::new(one / 10 + two / 10, tens.saturating_add(1), format),
        }
    }

    /// The number that stands before a power of ten that is not less than its own. Digits that do not fit are dropped.
    fn at_power(self, tens: u32) -> i128 {
        10i128.checked_pow(tens - self.tens).map_or(0, |power| self.nano / power)
    }

    /// The difference, in the format of `self` (or of `other` if `self` is zero).
    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(Quantity { nano: -other.nano, ..other })
    }

    /// The form in which a quantity's text is stored: its own if upstream takes that for canonical, otherwise the canonical one.
    ///
    /// # Errors
    /// The text is not a quantity.
    pub fn canonical(text: &str) -> Result<String, QuantityError> {
        let quantity = text.parse::<Quantity>()?;
        Ok(if is_kept(text) { text.to_owned() } else { quantity.to_string() })
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
        (self.nano, self.tens) == (other.nano, other.tens)
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
        let powers = match self.nano.signum() {
            sign if sign != other.nano.signum() => Ordering::Equal,
            -1 => other.tens.cmp(&self.tens),
            _ => self.tens.cmp(&other.tens),
        };
        powers.then(self.nano.cmp(&other.nano))
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let Parts { whole, fraction, suffix } = Parts::of(text);
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        let (scale, format) = suffix_scale(suffix)?;
        let (nano, tens) = match scale {
            Scale::Ten(power) => decimal_magnitude(whole, fraction, power),
            Scale::Two(power) => {
                (binary_magnitude(whole, fraction, power).map_or(MAX_NANO, |nano| nano.min(MAX_NANO)), 0)
            }
        };
        Ok(Quantity::new(if text.starts_with('-') { -nano } else { nano }, tens, format))
    }
}

/// A text without its sign.
struct Parts<'a> {
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl Parts<'_> {
    fn of(text: &str) -> Parts<'_> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        Parts { whole, fraction, suffix }
    }
}

/// Whether upstream keeps the text of a quantity because it is probably canonical (`ParseQuantity`): it has few digits, and its
/// power is one that has a suffix.
fn is_kept(text: &str) -> bool {
    let Parts { whole, fraction, suffix } = Parts::of(text);
    let whole = whole.trim_start_matches('0');
    let Ok((scale, _)) = suffix_scale(suffix) else { return false };
    match scale {
        Scale::Ten(power) => {
            // 18 digits fit into 64 bits.
            let power = i64::from(power) - fraction.len() as i64;
            let last = whole.bytes().chain(fraction.bytes()).rev().take(3);
            let ends_in_thousands = last.filter(|digit| *digit == b'0').count() == 3;
            !whole.is_empty()
                && whole.len() + fraction.len() <= 18
                && power >= -9
                && power % 3 == 0
                && !ends_in_thousands
        }
        Scale::Two(power) => {
            // The digits that remain of 15 after the factor of the suffix.
            let digits = 14_i64 - i64::from(power) * 3 / 10;
            let has_low_bits = || whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
            fraction.is_empty() && whole.len() as i64 <= digits && has_low_bits()
        }
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

/// The first `most` significant digits of `whole.fraction`, the number of the others, and whether one of those is not zero.
fn digits(whole: &str, fraction: &str, most: usize) -> (u128, usize, bool) {
    let digits = || whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0');
    let dropped = digits().count().saturating_sub(most);
    let sticky = dropped > 0 && digits().skip(most).any(|digit| digit != b'0');
    let kept = digits().take(most).fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    (kept, dropped, sticky)
}

/// `whole.fraction` times a power of ten in nano-units, rounded up; and the power of ten that does not fit.
fn decimal_magnitude(whole: &str, fraction: &str, ten: i32) -> (i128, u32) {
    let (mantissa, dropped, sticky) = digits(whole, fraction, DIGITS as usize);
    let power = dropped as i64 - fraction.len() as i64 + 9 + i64::from(ten);
    let signed = |whole: u128| i128::try_from(whole).ok();
    match shift_ten(mantissa, power).and_then(|(whole, rest)| Some((signed(whole)?, rest))) {
        Some((nano, rest)) => (nano.saturating_add(i128::from(rest || sticky)), 0),
        None => (signed(mantissa).map_or(LIMIT, |nano| nano + i128::from(sticky)), power as u32),
    }
}

/// `whole.fraction` times a power of two in nano-units, rounded up; `None` if it is beyond 128 bits.
fn binary_magnitude(whole: &str, fraction: &str, two: u32) -> Option<i128> {
    // 36 digits fit into 128 bits, so that `shift_both` has room. More matter only for rounding up, which `sticky` decides, and
    // for the cap.
    let (mantissa, dropped, sticky) = digits(whole, fraction, 36);
    if mantissa == 0 {
        return Some(0);
    }
    let power = dropped as i64 - fraction.len() as i64 + 9;
    let (whole, rest) = match mantissa.checked_mul(1 << two) {
        Some(product) => shift_ten(product, power),
        None => shift_both(mantissa, two, power),
    }?;
    i128::try_from(whole).ok()?.checked_add(i128::from(rest || sticky))
}

/// `mantissa` times a power of ten: the whole part and whether there is a rest; `None` if it does not fit.
fn shift_ten(mantissa: u128, power: i64) -> Option<(u128, bool)> {
    let ten = u32::try_from(power.unsigned_abs()).ok().and_then(|power| 10u128.checked_pow(power));
    match (ten, power >= 0) {
        (Some(ten), true) => Some((mantissa.checked_mul(ten)?, false)),
        (Some(ten), false) => Some((mantissa / ten, !mantissa.is_multiple_of(ten))),
        (None, true) => None,
        (None, false) => Some((0, mantissa != 0)),
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
        let whole_kibi = self.tens == 0 && self.is_whole() && (self.nano / NANO).abs() >= 1024;
        match self.format {
            Format::BinarySi if whole_kibi => fmt_binary(f, self.nano / NANO),
            format => fmt_decimal(f, (self.nano, self.tens), format == Format::DecimalExponent),
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

fn fmt_decimal(f: &mut fmt::Formatter<'_>, (nano, tens): (i128, u32), exponent: bool) -> fmt::Result {
    const SUFFIX: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let (mut value, mut power) = (nano, i64::from(tens) - 9);
    while value % 10 == 0 {
        value /= 10;
        power += 1;
    }
    let zeros = &"00"[..power.rem_euclid(3) as usize];
    power -= zeros.len() as i64;
    match (exponent, power) {
        (true, 0) => write!(f, "{value}{zeros}"),
        (true, _) => write!(f, "{value}{zeros}e{power}"),
        (false, _) => {
            let suffix = usize::try_from(power / 3 + 3).ok().and_then(|step| SUFFIX.get(step));
            // As upstream, powers without a suffix are not shown.
            write!(f, "{value}{zeros}{}", suffix.unwrap_or(&""))
        }
    }
}

#[cfg(test)]
mod tests;
