//! Scalars as fixed arrays, so that computing shares needs only additions and divisions.

use std::sync::Arc;

use kernel_model::{
    quota::Quantities,
    resources::{Resource, Resources, Scalar, Value},
};

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
    /// The index of a name; only those below [`NAMES_MAX`] count for fairness.
    pub(super) fn index(&mut self, name: &Arc<str>) -> usize {
        if self.0.is_empty() {
            // `allocatable` relies on these two indices.
            self.0.extend(["cpus", "mem"].map(Arc::from));
        }
        if let Some(at) = self.0.iter().position(|known| Arc::ptr_eq(known, name) || known == name) {
            return at;
        }
        self.0.push(name.clone());
        self.0.len() - 1
    }

    /// The name of an index.
    pub(super) fn name(&self, index: usize) -> Option<&Arc<str>> {
        self.0.get(index)
    }

    /// How many names are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The index of a name that was used before.
    pub(super) fn known(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| &**known == name)
    }

    /// The scalars that a quota counts as used: neither reserved, which counts anyway, nor revocable.
    pub(super) fn counted(&mut self, resources: &Resources) -> Vec<(usize, i64)> {
        let counts = |r: &&Resource| r.reservations.is_empty() && !r.revocable;
        let mut counted = Vec::with_capacity(4);
        for resource in resources.iter().filter(counts) {
            if let Value::Scalar(amount) = resource.value {
                counted.push((self.index(&resource.name), amount.0));
            }
        }
        counted
    }

    /// The amounts of names that were used before.
    pub(super) fn known_amounts(&self, resources: &Resources) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, amount) in resources.scalars() {
            if let Some(sum) = self.known(name).and_then(|at| amounts.0.get_mut(at)) {
                *sum = sum.saturating_add(amount.0);
            }
        }
        amounts
    }

    pub(super) fn amounts(&mut self, resources: &Resources) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, amount) in resources.scalars() {
            let at = self.index(name);
            if let Some(sum) = amounts.0.get_mut(at) {
                *sum = sum.saturating_add(amount.0);
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
        names.known(name).and_then(|at| self.0.get(at)).copied()
    }

    /// The amounts by name.
    pub(super) fn quantities(&self, names: &ResourceNames) -> Quantities {
        let amounts = self.0.iter().zip(&names.0).filter(|(amount, _)| **amount != 0);
        amounts.map(|(amount, name)| (name.clone(), Scalar(*amount))).collect()
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

/// Thousandths of any number of names, by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counts(Vec<i64>);

impl Counts {
    pub(super) fn get(&self, name: usize) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|amount| *amount == 0)
    }

    /// Adds amounts, or subtracts them if `sign` is -1.
    pub(super) fn add(&mut self, amounts: &[(usize, i64)], sign: i64) {
        for (name, amount) in amounts {
            if self.0.len() <= *name {
                self.0.resize(name + 1, 0);
            }
            self.0[*name] = self.0[*name].saturating_add(amount * sign);
        }
    }
}
