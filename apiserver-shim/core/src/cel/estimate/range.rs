//! A range of costs or sizes. Sums and products that are too large are the largest number.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub least: u64,
    pub most: u64,
}

impl Range {
    pub const ZERO: Range = Range::fixed(0);
    pub const ANY: Range = Range { least: 0, most: u64::MAX };

    pub const fn fixed(value: u64) -> Range {
        Range { least: value, most: value }
    }

    pub fn add(self, other: Range) -> Range {
        Range { least: self.least.saturating_add(other.least), most: self.most.saturating_add(other.most) }
    }

    pub fn multiply(self, other: Range) -> Range {
        Range { least: self.least.saturating_mul(other.least), most: self.most.saturating_mul(other.most) }
    }

    /// The product with a factor, rounded up.
    pub fn scale(self, factor: f64) -> Range {
        // The conversion of a number that is too large gives the largest one.
        let scaled = |value: u64| (value as f64 * factor).ceil() as u64;
        Range { least: scaled(self.least), most: scaled(self.most) }
    }

    pub fn union(self, other: Range) -> Range {
        Range { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}
