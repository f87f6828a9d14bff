//! Scalars with three decimals, as Mesos computes them. Doubles exist only on the wire.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub, SubAssign},
};

/// Thousandths of a unit (CPU, MiB). Never negative in a normal [`super::Resources`]. Arithmetic saturates, because
/// amounts come from clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Scalar(pub i64);

impl Scalar {
    /// Zero.
    pub const ZERO: Scalar = Scalar(0);

    /// The largest amount of a resource, which the wire refuses to exceed: it fits in 64 bits with three decimals.
    pub const MAX: Scalar = Scalar(9_000_000_000_000_000_000);

    /// Rounds a double from the wire to thousandths, half away from zero.
    pub fn from_f64(amount: f64) -> Self {
        Self((amount * 1000.0).round() as i64)
    }

    /// The amount as a double for the wire.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Whole units; saturates.
    pub fn from_units(units: i64) -> Self {
        Self(units.saturating_mul(1000))
    }
}

impl Add for Scalar {
    type Output = Scalar;
    fn add(self, other: Scalar) -> Scalar {
        Scalar(self.0.saturating_add(other.0))
    }
}

impl Sub for Scalar {
    type Output = Scalar;
    fn sub(self, other: Scalar) -> Scalar {
        Scalar(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Scalar {
    fn add_assign(&mut self, other: Scalar) {
        *self = *self + other;
    }
}

impl SubAssign for Scalar {
    fn sub_assign(&mut self, other: Scalar) {
        *self = *self - other;
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&general(self.as_f64(), 15))
    }
}

/// A double with this many significant digits, as C++ streams print it (`%g`): in Mesos' messages most numbers have six.
pub fn general(amount: f64, digits: usize) -> String {
    if !amount.is_finite() {
        return amount.to_string().to_lowercase();
    }
    let digits = digits.max(1);
    let scientific = format!("{amount:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    if (-4..digits).contains(&exponent) {
        let decimals = usize::try_from(digits - 1 - exponent).unwrap_or(0);
        return without_trailing_zeros(&format!("{amount:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs())
}

fn without_trailing_zeros(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::{Scalar, general};

    #[test]
    fn numbers_are_printed_as_streams_print_them() {
        for (amount, text) in [
            (0.0, "0"),
            (-1.0, "-1"),
            (0.5, "0.5"),
            (123456.0, "123456"),
            (1234567.0, "1.23457e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "1e+300"),
            (9.999999e5, "1e+06"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(general(amount, 6), text);
        }
        assert_eq!(Scalar(1_234_567_891).to_string(), "1234567.891");
        assert_eq!(Scalar(100).to_string(), "0.1");
        assert_eq!(Scalar(i64::MAX).to_string(), "9.22337203685478e+15");
    }
}
