//! When a node's disk is almost full: thresholds as the kubelet's flag `--eviction-hard` writes them.

use std::str::FromStr;

use quantity::Quantity;

/// Room for some images and logs: by default, a disk with this much is not almost full.
const ENOUGH_BYTES: u64 = 4 << 30;

/// What is available of a file system's space or inodes, and all that it has of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What an unprivileged user can still take.
    pub available: u64,
    /// All; 0 if the file system does not count them.
    pub total: u64,
}

/// Below which available space, or how many available inodes, a disk is almost full.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// In bytes: `nodefs.available`.
    space: Option<Threshold>,
    /// `nodefs.inodesFree`.
    inodes: Option<Threshold>,
}

/// The smaller of both, if both are given.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Threshold {
    /// Of the total.
    percent: Option<f64>,
    amount: Option<u64>,
}

/// Why thresholds cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ThresholdsError {
    #[error("'{0}' is not of the form SIGNAL<VALUE, as nodefs.available<1Gi or nodefs.inodesFree<5%")]
    Malformed(String),
    #[error("unsupported eviction signal '{0}': this node measures nodefs.available and nodefs.inodesFree")]
    Signal(String),
    #[error("'{0}' is given twice")]
    Twice(String),
    #[error("'{0}' is neither a positive quantity nor a percentage of at most 100%")]
    Value(String),
}

impl Threshold {
    fn is_passed(self, share: Share) -> bool {
        let part = self.percent.map(|percent| (share.total as f64 * percent / 100.0) as u64);
        let least = [part, self.amount].into_iter().flatten().min();
        share.total > 0 && least.is_some_and(|least| share.available < least)
    }

    /// Reads a value; `None` for `0%` and `100%`, which switch a signal off, as upstream.
    fn parse(text: &str) -> Result<Option<Self>, ThresholdsError> {
        let wrong = || ThresholdsError::Value(text.to_owned());
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.parse().map_err(|_| wrong())?;
            return match percent {
                0.0 | 100.0 => Ok(None),
                0.0..100.0 => Ok(Some(Self { percent: Some(percent), amount: None })),
                _ => Err(wrong()),
            };
        }
        let amount = text.parse::<Quantity>().map_err(|_| wrong())?.units();
        let amount = u64::try_from(amount).ok().filter(|amount| *amount > 0).ok_or_else(wrong)?;
        Ok(Some(Self { percent: None, amount: Some(amount) }))
    }
}

impl Default for Thresholds {
    /// Upstream's 10 % of the space and 5 % of the inodes; a large disk has room for Pods beyond that, so at most 4 GiB.
    fn default() -> Self {
        Self {
            space: Some(Threshold { percent: Some(10.0), amount: Some(ENOUGH_BYTES) }),
            inodes: Some(Threshold { percent: Some(5.0), amount: None }),
        }
    }
}

impl FromStr for Thresholds {
    type Err = ThresholdsError;

    /// Reads a list as `nodefs.available<10%,nodefs.inodesFree<5%`. A signal that is not named has no threshold.
    fn from_str(text: &str) -> Result<Self, ThresholdsError> {
        let mut read = Self { space: None, inodes: None };
        let mut named: Vec<&str> = Vec::new();
        for statement in text.split(',').filter(|statement| !statement.is_empty()) {
            let malformed = || ThresholdsError::Malformed(statement.to_owned());
            let (signal, value) = statement.split_once('<').ok_or_else(malformed)?;
            let threshold = match signal {
                "nodefs.available" => &mut read.space,
                "nodefs.inodesFree" => &mut read.inodes,
                _ => return Err(ThresholdsError::Signal(signal.to_owned())),
            };
            if named.contains(&signal) {
                return Err(ThresholdsError::Twice(signal.to_owned()));
            }
            named.push(signal);
            *threshold = Threshold::parse(value)?;
        }
        Ok(read)
    }
}

impl Thresholds {
    /// Whether a disk with this space, in bytes, and these inodes is almost full.
    pub fn are_passed(&self, space: Share, inodes: Share) -> bool {
        self.space.is_some_and(|threshold| threshold.is_passed(space))
            || self.inodes.is_some_and(|threshold| threshold.is_passed(inodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn almost_full(thresholds: &str, available: u64, total: u64) -> bool {
        let thresholds = match thresholds {
            "" => Thresholds::default(),
            text => text.parse().unwrap(),
        };
        thresholds.are_passed(Share { available, total }, Share { available: 50, total: 100 })
    }

    #[test]
    fn a_disk_is_almost_full_below_its_threshold() {
        for (thresholds, available, total, expected) in [
            ("", 9 * GIB / 10, 10 * GIB, true),
            ("", GIB, 10 * GIB, false),
            ("", 4 * GIB, 250 * GIB, false),
            ("", 4 * GIB - 1, 250 * GIB, true),
            ("", 0, 0, false),
            ("nodefs.available<10%", 20 * GIB, 250 * GIB, true),
            ("nodefs.available<1Gi", GIB, 250 * GIB, false),
            ("nodefs.available<1Gi", GIB - 1, 250 * GIB, true),
            ("nodefs.available<0%", 0, 250 * GIB, false),
            ("nodefs.inodesFree<50%", 0, 250 * GIB, false),
            ("nodefs.inodesFree<51%", 100 * GIB, 250 * GIB, true),
            ("nodefs.inodesFree<51", 100 * GIB, 250 * GIB, true),
            ("nodefs.inodesFree<12.5%,nodefs.available<1", 1, 250 * GIB, false),
        ] {
            let found = almost_full(thresholds, available, total);
            assert_eq!(found, expected, "'{thresholds}' with {available} of {total}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let parse = |text: &str| text.parse::<Thresholds>().unwrap_err();
        assert_eq!(parse("memory.available<100Mi"), ThresholdsError::Signal("memory.available".to_owned()));
        assert_eq!(
            parse("nodefs.available=1Gi"),
            ThresholdsError::Malformed("nodefs.available=1Gi".to_owned())
        );
        let twice = "nodefs.available<1Gi,nodefs.available<5%";
        assert_eq!(parse(twice), ThresholdsError::Twice("nodefs.available".to_owned()));
        for value in ["", "0", "-1", "-1%", "101%", "NaN%", "x", "%"] {
            let error = parse(&format!("nodefs.available<{value}"));
            assert_eq!(error, ThresholdsError::Value(value.to_owned()));
        }
    }
}
