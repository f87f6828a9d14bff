//! A log of what has changed, by index, and the last change of each.

/// Indices that have changed, in the order in which they did. Changes are counted from 1.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    indices: Vec<usize>,
    /// How many changes there were before these.
    forgotten: usize,
    /// By index: its last change, 0 for none.
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

    /// How many changes there have been.
    pub fn end(&self) -> usize {
        self.forgotten + self.indices.len()
    }

    pub fn last_of(&self, index: usize) -> usize {
        self.last_of.get(index).copied().unwrap_or(0)
    }

    /// The indices that have changed after the first `seen` changes, each once. Nothing if the log does not reach back.
    pub fn since(&self, seen: usize) -> Option<impl Iterator<Item = usize>> {
        let unseen = self.indices.get(seen.checked_sub(self.forgotten)?..)?;
        let last = |(index, change): &(&usize, usize)| self.last_of(**index) == *change;
        Some(unseen.iter().zip(seen + 1..).filter(last).map(|(index, _)| *index))
    }

    /// Forgets the older half once the log is longer than this: whoever has read less begins anew.
    pub fn limit_to(&mut self, length: usize) {
        let length = length.max(LENGTH_MIN);
        if self.indices.len() > length {
            let drop = self.indices.len() - length / 2;
            self.indices.drain(..drop);
            self.forgotten += drop;
        }
    }
}

/// Below this length nothing is forgotten: beginning anew after few changes costs more than 16 bytes a change.
const LENGTH_MIN: usize = 256;
