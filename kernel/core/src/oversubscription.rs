//! Oversubscription: how much of a machine is offered beyond what it has, as revocable, and which revocable tasks end when the machine
//! is under pressure. Functions of values; the agent acts on them.
//!
//! What is wanted of them, and which test of `oversubscription/tests.rs` shows it:
//!
//! 1. *No more than is idle*: with the usage estimator, what is revocable and what guaranteed work has used at any time of the window
//!    never exceed what is allocated to guaranteed work. `no_more_is_offered_than_guaranteed_work_leaves`
//! 2. *Running work is not counted twice*: what is revocable and allocated is part of the estimate.
//!    `what_is_allocated_is_part_of_the_estimate`
//! 3. *No correction without pressure*, and of work that is not revocable never. `nothing_ends_below_the_thresholds`
//! 4. *The order*: the lowest priority, then the newest. `the_least_important_ends_first`

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use kernel_model::{
    oversubscription::{Estimator, QosController, Sample},
    resources::{Resource, Resources, Scalar},
    time::Time,
};

/// The usage estimator offers what has not been used for this long. Shorter pauses of guaranteed work are not offered.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Measurements within this time are kept as one, the largest: so the window has some sixty.
const SLOT: Duration = Duration::from_secs(1);

/// The unit of what the usage estimator offers: offers do not change with every measurement.
const STEP: i64 = 100;

/// After a task has ended because of pressure, the averages need this long to show it.
const PRESSURE_AVERAGE: Duration = Duration::from_secs(10);

/// An estimator with what it remembers.
#[derive(Debug, Clone)]
pub struct Estimation {
    estimator: Estimator,
    /// Since when usage is known.
    since: Option<Time>,
    /// The CPUs that guaranteed work has used, oldest first.
    used: VecDeque<(Time, Scalar)>,
}

impl Estimation {
    /// Remembers nothing yet.
    pub fn new(estimator: Estimator) -> Self {
        Self { estimator, since: None, used: VecDeque::new() }
    }

    /// Takes a measurement: all CPUs that were busy, and those of them that revocable tasks used.
    pub fn observe(&mut self, now: Time, busy: Option<Scalar>, revocable: Scalar) {
        let Some(busy) = busy else {
            // Whatever was used meanwhile is not known.
            (self.since, self.used) = (None, VecDeque::new());
            return;
        };
        self.since.get_or_insert(now);
        let used = (busy - revocable).max(Scalar::ZERO);
        match self.used.back_mut() {
            Some((at, last)) if now.since(*at) < SLOT => *last = used.max(*last),
            _ => self.used.push_back((now, used)),
        }
        while self.used.front().is_some_and(|(at, _)| now.since(*at) > WINDOW + SLOT) {
            self.used.pop_front();
        }
    }

    /// What may be offered beside what is allocated: `guaranteed` are the CPUs that are allocated and not revocable, `revocable` is
    /// what is allocated and revocable.
    pub fn oversubscribable(&self, now: Time, guaranteed: Scalar, revocable: &Resources) -> Resources {
        let all = match &self.estimator {
            Estimator::Fixed(resources) => resources.clone(),
            Estimator::Usage { share } => {
                let cpus = Scalar(self.unused(now, guaranteed, *share));
                [Resource { revocable: true, ..Resource::scalar("cpus", cpus) }].into_iter().collect()
            }
        };
        all.saturating_sub(&revocable.unallocated())
    }

    /// Thousandths of CPUs, in steps.
    fn unused(&self, now: Time, guaranteed: Scalar, share: f64) -> i64 {
        let known = self.since.is_some_and(|since| now.since(since) >= WINDOW);
        let peak = self.used.iter().map(|(_, used)| *used).max().filter(|_| known);
        let idle = peak.map_or(0, |peak| (guaranteed - peak).0.max(0));
        (idle as f64 * share) as i64 / STEP * STEP
    }
}

/// A revocable task or executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct RevocableWork {
    pub priority: i64,
    pub launched_at: Time,
}

/// A QoS controller with what it remembers.
#[derive(Debug, Clone)]
pub struct Correction {
    controller: QosController,
    corrected_at: Option<Time>,
}

impl Correction {
    /// Remembers nothing yet.
    pub fn new(controller: QosController) -> Self {
        Self { controller, corrected_at: None }
    }

    /// Whether the machine is under pressure, so that nothing more is to be offered.
    pub fn is_overloaded(&self, sample: &Sample) -> bool {
        let exceeds = |value: Option<f64>, threshold: Option<f64>| {
            value.zip(threshold).is_some_and(|(value, threshold)| value > threshold)
        };
        match self.controller {
            QosController::Load { five, fifteen } => {
                exceeds(sample.load.map(|load| load[0]), five)
                    || exceeds(sample.load.map(|load| load[1]), fifteen)
            }
            QosController::Pressure { cpu, memory } => {
                exceeds(sample.cpu_pressure, cpu) || exceeds(sample.memory_pressure, memory)
            }
        }
    }

    /// The positions of the work that ends now, in this order.
    pub fn victims(&mut self, now: Time, sample: &Sample, work: &[RevocableWork]) -> Vec<usize> {
        if !self.is_overloaded(sample) || work.is_empty() {
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.sort_by_key(|at| (work[*at].priority, Reverse(work[*at].launched_at)));
        if let QosController::Pressure { .. } = self.controller {
            if self.corrected_at.is_some_and(|at| now < at + PRESSURE_AVERAGE) {
                return Vec::new();
            }
            order.truncate(1);
        }
        self.corrected_at = Some(now);
        order
    }
}

#[cfg(test)]
mod tests;
