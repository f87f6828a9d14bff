//! A set of agents as bits. Each offer changes several such sets, and each round walks them in order of slots.

const BITS: u32 = u64::BITS;

/// A set of slots. It takes a bit for each slot up to the largest one.
#[derive(Debug, Default)]
pub(super) struct SlotSet {
    words: Vec<u64>,
    /// A bit for each word that is not zero: a walk over a large set with few members takes few steps.
    used: Vec<u64>,
    len: usize,
}

impl SlotSet {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.words.get(at(slot)).is_some_and(|word| word & bit(slot) != 0)
    }

    pub(super) fn insert(&mut self, slot: u32) {
        let word = at(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
            self.used.resize(at(word as u32) + 1, 0);
        }
        self.len += usize::from(self.words[word] & bit(slot) == 0);
        self.words[word] |= bit(slot);
        self.used[at(word as u32)] |= bit(word as u32);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(word) = self.words.get_mut(at(slot)).filter(|word| **word & bit(slot) != 0) else {
            return;
        };
        *word &= !bit(slot);
        if *word == 0 {
            self.used[at(at(slot) as u32)] &= !bit(at(slot) as u32);
        }
        self.len -= 1;
    }

    /// The first member from this slot on.
    pub(super) fn first_from(&self, slot: u32) -> Option<u32> {
        let word = first_from(&self.words, slot);
        word.or_else(|| {
            // The word of the slot has none: the next word that has.
            let next = at(slot) as u32 + 1;
            let word = first_from(&self.used, next).or_else(|| {
                let later = self.used.iter().enumerate().skip(at(next) + 1).find(|(_, word)| **word != 0);
                later.map(|(at, word)| at as u32 * BITS + word.trailing_zeros())
            })?;
            first_from(&self.words, word * BITS)
        })
    }

    /// The members from this slot on, in order.
    pub(super) fn range_from(&self, slot: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(self.first_from(slot), |last| self.first_from(last + 1))
    }

    /// Moves all members of the other set into this one.
    pub(super) fn append(&mut self, other: &mut SlotSet) {
        let mut from = 0;
        while let Some(slot) = other.first_from(from) {
            other.remove(slot);
            self.insert(slot);
            from = slot + 1;
        }
    }
}

/// The position of a slot's word.
fn at(slot: u32) -> usize {
    (slot / BITS) as usize
}

fn bit(slot: u32) -> u64 {
    1 << (slot % BITS)
}

/// The first bit that is set in the word of this one, from this one on.
fn first_from(words: &[u64], from: u32) -> Option<u32> {
    let word = words.get(at(from))? >> (from % BITS);
    (word != 0).then(|| from + word.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((0u32..20_000, any::<bool>()), 0..200), from in 0u32..20_000) {
            let (mut set, mut expected) = (SlotSet::default(), BTreeSet::new());
            for (slot, insert) in steps {
                // Few enough to meet members again, far enough apart for words and words of words between them.
                let slot = slot % 20 * 997;
                match insert {
                    true => {
                        set.insert(slot);
                        expected.insert(slot);
                    }
                    false => {
                        set.remove(slot);
                        expected.remove(&slot);
                    }
                }
                prop_assert_eq!(set.contains(slot), insert);
            }
            prop_assert_eq!(set.is_empty(), expected.is_empty());
            let range: Vec<u32> = expected.range(from..).copied().collect();
            prop_assert_eq!(set.range_from(from).collect::<Vec<_>>(), range);
            let mut other = SlotSet::default();
            other.insert(from);
            other.append(&mut set);
            expected.insert(from);
            prop_assert!(set.is_empty() && set.first_from(0).is_none());
            prop_assert_eq!(other.range_from(0).collect::<BTreeSet<_>>(), expected);
        }
    }
}
