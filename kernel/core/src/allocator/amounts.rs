//! Scalars as fixed arrays, so that computing shares needs only additions and divisions.

use std::sync::Arc;

use kernel_model::resources::Resources;

/// How many scalar names count for fairness: `cpus`, `mem`, `disk`, `gpus`, and as many site-specific ones. Further
/// names are allocated but not counted.
const NAMES_MAX: usize = 8;

/// Thousandths, indexed by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Amounts([i64; NAMES_MAX]);

/// The index of each name, in order of first use.
#[derive(Debug, Clone, Default)]
pub(super) struct ResourceNames(Vec<Arc<str>>);

impl ResourceNames {
    fn index(&mut self, name: &Arc<str>) -> Option<usize> {
        if self.0.is_empty() {
            // `allocatable` relies on these two indices.
            self.0.extend(["cpus", "mem"].map(Arc::from));
        }
        if let Some(at) = self.0.iter().position(|known| Arc::ptr_eq(known, name) || known == name) {
            return Some(at);
        }
        (self.0.len() < NAMES_MAX).then(|| {
            self.0.push(name.clone());
            self.0.len() - 1
        })
    }

    pub(super) fn amounts(&mut self, resources: &Resources) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, amount) in resources.scalars() {
            if let Some(at) = self.index(name) {
                amounts.0[at] = amounts.0[at].saturating_add(amount.0);
            }
        }
        amounts
    }
}

impl Amounts {
    /// At least 0.01 CPUs or 32 MiB: Mesos' minimum for an offer.
    pub(super) fn allocatable(&self) -> bool {
        self.0[0] >= 10 || self.0[1] >= 32_000
    }

    pub(super) fn add(&mut self, other: Amounts) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = a.saturating_add(b);
        }
    }

    pub(super) fn subtract(&mut self, other: Amounts) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a = a.saturating_sub(b);
        }
    }

    /// Multiplies by a factor, rounding down to thousandths.
    pub(super) fn scaled(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|a| *a = (*a as f64 * factor + 1e-6) as i64);
        self
    }

    /// Subtracts; never below zero.
    pub(super) fn without(mut self, other: Amounts) -> Self {
        self.subtract(other);
        self.0.iter_mut().for_each(|a| *a = (*a).max(0));
        self
    }

    /// The minimum, component by component.
    pub(super) fn least(mut self, other: Amounts) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = (*a).min(b));
        self
    }

    /// Whether no component exceeds the other's.
    pub(super) fn fit(&self, others: &Amounts) -> bool {
        self.0.iter().zip(others.0).all(|(a, b)| *a <= b)
    }

    /// Whether this part of an offer can start a task: it has allocatable CPUs if the offer has, and likewise memory.
    pub(super) fn is_useful_part_of(&self, offer: &Amounts) -> bool {
        (offer.0[0] < 10 || self.0[0] >= 10) && (offer.0[1] < 32_000 || self.0[1] >= 32_000)
    }

    /// The amount of a name, if the name counts for fairness.
    pub(super) fn of(&self, names: &ResourceNames, name: &str) -> Option<i64> {
        names.0.iter().position(|known| &**known == name).map(|at| self.0[at])
    }

    /// The largest fraction of any resource in `pool`.
    pub(super) fn dominant_share_of(&self, pool: &Amounts) -> f64 {
        let mut share = 0.0f64;
        for (leftovers, all) in self.0.iter().zip(pool.0) {
            if all > 0 {
                share = share.max(*leftovers as f64 / all as f64);
            }
        }
        share
    }
}
