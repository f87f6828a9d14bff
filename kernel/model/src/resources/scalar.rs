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

    /// Rounds a double from the wire to thousandths, half away from zero.
    pub fn from_f64(amount: f64) -> Self {
        Self((amount * 1000.0).round() as i64)
    }

    /// The amount as a double for the wire.
    pub fn as_f64(self) -> f64 {
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
        write!(f, "{}", self.as_f64())
    }
}
