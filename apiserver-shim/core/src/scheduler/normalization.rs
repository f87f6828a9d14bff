//! Scores on a scale that depends on all feasible nodes: upstream's NormalizeScore. A class keeps the plugins' own scores of
//! its nodes, so that a new highest score changes the ranking without running a plugin.

use super::framework::{MAX_SCORE, Normalization};

/// A plugin whose scores are normalised.
#[derive(Debug)]
struct Scale {
    plugin: usize,
    weight: i64,
    normalization: Normalization,
    /// The highest score of all feasible nodes.
    highest: i64,
    /// The number of nodes with the highest score; 0 if the highest has to be looked up.
    at_highest: usize,
    /// The highest score that the ranking is based on.
    ranked: i64,
}

impl Scale {
    fn points(&self, score: i64) -> i64 {
        self.normalization.points(score, self.ranked).clamp(0, MAX_SCORE) * self.weight
    }
}

/// The scores of a class's nodes.
#[derive(Debug, Default)]
pub(super) struct NodeScores {
    scales: Vec<Scale>,
    /// The index of the first node that has scores.
    first: usize,
    /// The weighted sum of the scores that need no other node, by node; `None` for a node that is not feasible.
    fixed: Vec<Option<i64>>,
    /// The scores to normalise, by node and plugin.
    own: Vec<i64>,
}

impl NodeScores {
    /// Adds a plugin whose scores are normalised.
    pub fn normalize(&mut self, plugin: usize, weight: i64, normalization: Normalization) {
        self.scales.push(Scale { plugin, weight, normalization, highest: 0, at_highest: 0, ranked: 0 });
    }

    /// The number of plugins whose scores are normalised.
    pub fn plugins(&self) -> usize {
        self.scales.len()
    }

    /// Removes all scores, before those of these nodes are set.
    pub fn clear(&mut self, nodes: std::ops::Range<usize>) {
        self.first = nodes.start;
        self.fixed.clear();
        self.fixed.resize(nodes.len(), None);
        self.own.clear();
        self.own.resize(nodes.len() * self.scales.len(), 0);
        self.scales.iter_mut().for_each(|scale| (scale.highest, scale.at_highest) = (0, 0));
    }

    /// The indices of the nodes that may have scores.
    pub fn nodes(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.fixed.len()
    }

    /// Sets the scores of a node: the sum of those that need no other node, and by plugin those to normalise. `None` if the
    /// node is not feasible.
    pub fn set(&mut self, node: usize, fixed: Option<i64>, own: impl Fn(usize) -> i64) {
        let at = node - self.first;
        let had = std::mem::replace(&mut self.fixed[at], fixed).is_some();
        let scores = self.own.iter_mut().skip(at * self.scales.len());
        for (scale, score) in self.scales.iter_mut().zip(scores) {
            if had && *score == scale.highest {
                scale.at_highest = scale.at_highest.saturating_sub(1);
            }
            if fixed.is_none() {
                continue;
            }
            *score = own(scale.plugin);
            match (*score).cmp(&scale.highest) {
                std::cmp::Ordering::Greater => (scale.highest, scale.at_highest) = (*score, 1),
                std::cmp::Ordering::Equal => scale.at_highest += 1,
                std::cmp::Ordering::Less => {}
            }
        }
    }

    /// Takes over the highest scores; returns whether one has changed, so that every node must be ranked again.
    pub fn rescale(&mut self) -> bool {
        let count = self.scales.len();
        let mut changed = false;
        for (at, scale) in self.scales.iter_mut().enumerate() {
            if scale.at_highest == 0 {
                let feasible = self.fixed.iter().zip(self.own.iter().skip(at).step_by(count));
                let scores = feasible.filter_map(|(fixed, own)| fixed.map(|_| *own));
                (scale.highest, scale.at_highest) = (0, 0);
                for score in scores {
                    match score.cmp(&scale.highest) {
                        std::cmp::Ordering::Greater => (scale.highest, scale.at_highest) = (score, 1),
                        std::cmp::Ordering::Equal => scale.at_highest += 1,
                        std::cmp::Ordering::Less => {}
                    }
                }
            }
            changed |= scale.ranked != scale.highest;
            scale.ranked = scale.highest;
        }
        changed
    }

    /// The weighted sum of a node's scores; `None` if the node is not feasible.
    pub fn sum(&self, node: usize) -> Option<i64> {
        let at = node.checked_sub(self.first)?;
        let fixed = (*self.fixed.get(at)?)?;
        let own = self.own.iter().skip(at * self.scales.len());
        Some(fixed + self.scales.iter().zip(own).map(|(scale, score)| scale.points(*score)).sum::<i64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_scaled_by_the_highest_of_the_feasible_nodes() {
        let mut scores = NodeScores::default();
        scores.normalize(0, 1, Normalization::Highest);
        scores.normalize(1, 3, Normalization::HighestReversed);
        scores.clear(10..13);
        scores.set(10, Some(7), |plugin| [2, 1][plugin]);
        scores.set(11, Some(7), |plugin| [4, 0][plugin]);
        assert!(scores.rescale());
        assert_eq!(scores.sum(10), Some(7 + MAX_SCORE / 2));
        assert_eq!(scores.sum(11), Some(7 + MAX_SCORE + 3 * MAX_SCORE));
        assert_eq!((scores.sum(9), scores.sum(12), scores.sum(13)), (None, None, None));
        // The node with the highest score is no longer feasible.
        scores.set(11, None, |_| 0);
        assert!(scores.rescale());
        assert_eq!(scores.sum(10), Some(7 + MAX_SCORE));
        assert!(!scores.rescale());
        scores.set(10, Some(7), |_| 0);
        assert!(scores.rescale());
        assert_eq!(
            scores.sum(10),
            Some(7 + 3 * MAX_SCORE),
            "without any score above zero, reversed ones are full"
        );
    }
}
