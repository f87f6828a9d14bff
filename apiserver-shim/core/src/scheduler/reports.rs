//! Counters of the scheduler for the `scheduler_*` metrics. The core has no clock; callers measure the duration of a
//! cycle.

use super::ExtensionPoint;

/// The result of an attempt to schedule a Pod: the label `result` of `scheduler_schedule_attempts_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptResult {
    /// A node was found.
    Scheduled,
    /// No node is feasible.
    Unschedulable,
}

impl AttemptResult {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptResult::Scheduled => "scheduled",
            AttemptResult::Unschedulable => "unschedulable",
        }
    }
}

/// Monotonic counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchedulerStats {
    /// The number of cycles.
    pub cycles: u64,
    attempts: Vec<[u64; 2]>,
    runs: [u64; ExtensionPoint::ALL.len()],
}

impl SchedulerStats {
    /// The number of attempts with this result, by the index of the profile.
    pub fn attempts(&self, profile: usize, result: AttemptResult) -> u64 {
        self.attempts.get(profile).map_or(0, |results| results[result as usize])
    }

    /// The number of plugin calls at an extension point. Cached results need no call.
    pub fn plugin_runs(&self, point: ExtensionPoint) -> u64 {
        self.runs[point as usize]
    }

    pub(super) fn count_attempt(&mut self, profile: usize, result: AttemptResult) {
        if self.attempts.len() <= profile {
            self.attempts.resize(profile + 1, [0; 2]);
        }
        self.attempts[profile][result as usize] += 1;
    }

    pub(super) fn count_run(&mut self, point: ExtensionPoint) {
        self.count_runs(point, 1);
    }

    pub(super) fn count_runs(&mut self, point: ExtensionPoint, runs: u64) {
        self.runs[point as usize] += runs;
    }
}
