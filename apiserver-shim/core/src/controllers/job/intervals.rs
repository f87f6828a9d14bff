//! Sets of completion indexes in the form of `status.completedIndexes`: `1,3-5,7`.

use std::fmt;

/// A set of indexes as ordered intervals that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(Vec<(i64, i64)>);

impl Intervals {
    /// Reads a list and drops what is not below `completions`, or not a number: an elastic Job may have been scaled down,
    /// and a status may have been written by others.
    pub fn parse(text: &str, completions: i64) -> Intervals {
        let interval = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i64, i64) = (first.parse().ok()?, last.parse().ok()?);
            let last = last.min(completions - 1);
            (first >= 0 && first <= last).then_some((first, last))
        };
        Intervals::default().with(text.split(',').filter_map(interval))
    }

    /// The union with further intervals, in any order.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = (i64, i64)>) -> Intervals {
        let mut all = self.0.clone();
        all.extend(more);
        all.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Intervals(merged)
    }

    /// The union with single indexes.
    #[must_use]
    pub fn with_indexes(&self, indexes: impl IntoIterator<Item = i64>) -> Intervals {
        self.with(indexes.into_iter().map(|index| (index, index)))
    }

    /// The union of two sets.
    #[must_use]
    pub fn union(&self, other: &Intervals) -> Intervals {
        self.with(other.0.iter().copied())
    }

    /// How many indexes it contains.
    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether it contains an index.
    pub fn contains(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many indexes both contain.
    pub fn shared(&self, other: &Intervals) -> i64 {
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        let mut total = 0;
        while let ([(a, b), others @ ..], [(c, d), further @ ..]) = (left, right) {
            total += (b.min(d) - a.max(c) + 1).max(0);
            // The one that ends first overlaps nothing else.
            match b < d {
                true => left = others,
                false => right = further,
            }
        }
        total
    }

    /// The first `count` indexes below `completions` that it does not contain.
    pub fn missing(&self, completions: i64, count: usize) -> Vec<i64> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let wanted = count - missing.len();
            missing.extend((next..first.min(completions)).take(wanted));
            next = last + 1;
        }
        missing
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_and_written() {
        let cases = ["", "0", "0,1", "0-2", "1,3-5,7", "3-9", "9,12", "x,2-y,4", "5-3", "2,1"];
        let shown: Vec<String> = cases
            .iter()
            .map(|text| {
                let set = Intervals::parse(text, 9);
                format!(
                    "{text:?} -> {:?} ({}), missing {:?}",
                    set.to_string(),
                    set.total(),
                    set.missing(9, 3)
                )
            })
            .collect();
        expect![[r#"
            "" -> "" (0), missing [0, 1, 2]
            "0" -> "0" (1), missing [1, 2, 3]
            "0,1" -> "0,1" (2), missing [2, 3, 4]
            "0-2" -> "0-2" (3), missing [3, 4, 5]
            "1,3-5,7" -> "1,3-5,7" (5), missing [0, 2, 6]
            "3-9" -> "3-8" (6), missing [0, 1, 2]
            "9,12" -> "" (0), missing [0, 1, 2]
            "x,2-y,4" -> "4" (1), missing [0, 1, 2]
            "5-3" -> "" (0), missing [0, 1, 2]
            "2,1" -> "1,2" (2), missing [0, 3, 4]"#]]
        .assert_eq(&shown.join("\n"));
    }

    fn indexes() -> impl Strategy<Value = BTreeSet<i64>> {
        proptest::collection::btree_set(0..40_i64, 0..30)
    }

    proptest! {
        /// The intervals behave as a set of numbers does.
        #[test]
        fn intervals_are_a_set(a in indexes(), b in indexes()) {
            let of = |indexes: &BTreeSet<i64>| Intervals::default().with_indexes(indexes.iter().copied());
            let (left, right) = (of(&a), of(&b));
            let union: BTreeSet<i64> = a.union(&b).copied().collect();
            let both = left.union(&right);
            prop_assert_eq!(both.total(), union.len() as i64);
            prop_assert_eq!(left.shared(&right), a.intersection(&b).count() as i64);
            prop_assert_eq!(Intervals::parse(&both.to_string(), 40), both.clone());
            for index in 0..41 {
                prop_assert_eq!(both.contains(index), union.contains(&index));
            }
            let missing: Vec<i64> = (0..40).filter(|index| !union.contains(index)).take(7).collect();
            prop_assert_eq!(both.missing(40, 7), missing);
        }
    }
}
