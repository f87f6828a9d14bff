//! The health of a task from its probe results, by Mesos' rules: failures before the first success count only after the
//! grace period, only changes are reported, and a number of consecutive failures kills the task.

use std::time::Instant;

use kernel_wire::v1::HealthCheck;

use super::probe::seconds;

/// The health of a task.
#[derive(Debug)]
pub(super) struct Health {
    failures: u32,
    failures_max: u32,
    grace_until: Instant,
    last: Option<bool>,
}

/// The change caused by a probe result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthChange {
    /// No change to report.
    None,
    /// The task is healthy for the first time, or again.
    Healthy,
    /// The task is unhealthy.
    Unhealthy,
    /// The task is unhealthy, and the number of allowed failures is reached.
    GiveUp,
}

impl Health {
    pub(super) fn new(check: &HealthCheck, now: Instant) -> Self {
        Self {
            failures: 0,
            failures_max: check.consecutive_failures(),
            grace_until: now + seconds(check.grace_period_seconds()),
            last: None,
        }
    }

    /// Records a probe result.
    pub(super) fn record(&mut self, good: bool, now: Instant) -> HealthChange {
        if good {
            self.failures = 0;
            return match self.last.replace(true) {
                Some(true) => HealthChange::None,
                _ => HealthChange::Healthy,
            };
        }
        if self.last.is_none() && now < self.grace_until {
            return HealthChange::None;
        }
        self.last = Some(false);
        self.failures = self.failures.saturating_add(1);
        // As in Mesos, zero means never.
        match self.failures_max > 0 && self.failures >= self.failures_max {
            true => HealthChange::GiveUp,
            false => HealthChange::Unhealthy,
        }
    }
}
