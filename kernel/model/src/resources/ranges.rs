//! Inclusive ranges of numbers (ports), sorted and coalesced.

use std::{fmt, sync::Arc};

/// Disjoint, non-adjacent, ascending inclusive ranges, shared between clones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ranges(Arc<[(u64, u64)]>);

impl Ranges {
    /// Sorts and coalesces. Drops pairs with begin > end; the parsers refuse them earlier.
    pub fn new(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(begin, end)| begin <= end).collect();
        pairs.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(pairs.len());
        for (begin, end) in pairs {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged.into())
    }

    /// The pairs in ascending order.
    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers in either.
    pub fn union(&self, other: &Ranges) -> Ranges {
        Ranges::new(self.0.iter().chain(&*other.0).copied())
    }

    /// The numbers of `self` that are not in `other`.
    pub fn difference(&self, other: &Ranges) -> Ranges {
        let mut left = Vec::new();
        // Both are in order: what ends before a pair begins ends before every later one.
        let mut rest = &*other.0;
        for &(begin, end) in &*self.0 {
            let mut from = begin;
            let mut used_up = false;
            rest = &rest[rest.iter().take_while(|(_, e)| *e < begin).count()..];
            for &(b, e) in rest.iter().take_while(|(b, _)| *b <= end) {
                if b > from {
                    left.push((from, b - 1));
                }
                if e >= end {
                    used_up = true;
                    break;
                }
                from = from.max(e.saturating_add(1));
            }
            if !used_up {
                left.push((from, end));
            }
        }
        Ranges(left.into())
    }

    /// Whether `self` contains every number of `other`.
    pub fn contains(&self, other: &Ranges) -> bool {
        other.difference(self).is_empty()
    }

    /// The numbers in both.
    pub fn intersection(&self, other: &Ranges) -> Ranges {
        self.difference(&self.difference(other))
    }

    /// How many numbers there are; saturates.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0u64, |sum, (b, e)| sum.saturating_add((e - b).saturating_add(1)))
    }

    /// The lowest `count` numbers, or `None` if there are fewer.
    pub fn lowest(&self, count: u64) -> Option<Ranges> {
        let mut left = count;
        let mut taken = Vec::new();
        for &(begin, end) in &*self.0 {
            if left == 0 {
                break;
            }
            let size = (end - begin).saturating_add(1).min(left);
            taken.push((begin, begin + (size - 1)));
            left -= size;
        }
        (left == 0).then(|| Ranges(taken.into()))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{begin}-{end}")?;
        }
        f.write_str("]")
    }
}
