//! Inclusive ranges of numbers (ports), sorted and coalesced.

/// Disjoint, non-adjacent, ascending inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Sorts and coalesces. Pairs with begin > end are dropped; the doors refuse them before.
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
        Self(merged)
    }

    /// The pairs, ascending.
    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every number in any of both.
    pub fn union(&self, other: &Ranges) -> Ranges {
        Ranges::new(self.0.iter().chain(&other.0).copied())
    }

    /// Every number of `self` that is not in `other`.
    pub fn difference(&self, other: &Ranges) -> Ranges {
        let mut left = Vec::new();
        for &(begin, end) in &self.0 {
            let mut from = begin;
            let mut used_up = false;
            for &(b, e) in other.0.iter().filter(|(b, e)| *e >= begin && *b <= end) {
                if b > from {
                    left.push((from, b - 1));
                }
                if e >= end {
                    used_up = true;
                    break;
                }
                from = from.max(e + 1);
            }
            if !used_up {
                left.push((from, end));
            }
        }
        Ranges(left)
    }

    /// Whether every number of `other` is in `self`.
    pub fn contains(&self, other: &Ranges) -> bool {
        other.difference(self).is_empty()
    }
}
