//! A log of changed indices, with the last change of each index.

/// The changed indices in order. Changes are numbered from 1.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    indices: Vec<usize>,
    /// The number of changes that were dropped from the front of the log.
    forgotten: usize,
    /// The number of the last change of each index; 0 for none.
    last_of: Vec<usize>,
}

impl ChangeLog {
    pub fn note(&mut self, index: usize) {
        self.indices.push(index);
        if self.last_of.len() <= index {
            self.last_of.resize(index + 1, 0);
        }
        self.last_of[index] = self.end();
    }

    /// The number of changes so far.
    pub fn end(&self) -> usize {
        self.forgotten + self.indices.len()
    }

    pub fn last_of(&self, index: usize) -> usize {
        self.last_of.get(index).copied().unwrap_or(0)
    }

    /// The indices that changed after the first `seen` changes, without duplicates. `None` if those changes have been
    /// dropped.
    pub fn since(&self, seen: usize) -> Option<impl Iterator<Item = usize>> {
        let unseen = self.indices.get(seen.checked_sub(self.forgotten)?..)?;
        let last = |(index, change): &(&usize, usize)| self.last_of(**index) == *change;
        Some(unseen.iter().zip(seen + 1..).filter(last).map(|(index, _)| *index))
    }

    /// Drops the older half if the log exceeds `length`. Readers that have not read that far must start over.
    pub fn limit_to(&mut self, length: usize) {
        let length = length.max(LENGTH_MIN);
        if self.indices.len() > length {
            let drop = self.indices.len() - length / 2;
            self.indices.drain(..drop);
            self.forgotten += drop;
        }
    }
}

/// Minimum length kept: starting over after few changes costs more than 16 bytes per change.
const LENGTH_MIN: usize = 256;
