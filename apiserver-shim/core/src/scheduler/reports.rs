//! What the scheduler has done, in numbers, for `scheduler_*` metrics. The core has no clock: it counts, and whoever calls a
//! cycle measures how long it took.

use super::ExtensionPoint;

/// What became of one attempt to schedule a Pod: the label `result` of `scheduler_schedule_attempts_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptResult {
    /// It has a node.
    Scheduled,
    /// No node will do.
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

/// Counters. They only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchedulerStats {
    /// Cycles so far.
    pub cycles: u64,
    attempts: Vec<[u64; 2]>,
    runs: [u64; ExtensionPoint::ALL.len()],
}

impl SchedulerStats {
    /// Attempts of Pods of a profile, by its index, that ended so.
    pub fn attempts(&self, profile: usize, result: AttemptResult) -> u64 {
        self.attempts.get(profile).map_or(0, |results| results[result as usize])
    }

    /// How often plugins were called at an extension point. Cached results need no call.
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
