//! What a run of probes says of a task's health, by Mesos' rules: failures before the first success count only after the
//! grace period, success is told when it is news, and so many failures in a row are the end.

use std::time::Instant;

use kernel_wire::v1::HealthCheck;

use super::probe::seconds;

/// The health of one task.
#[derive(Debug)]
pub(super) struct Health {
    failures: u32,
    failures_max: u32,
    grace_until: Instant,
    last: Option<bool>,
}

/// What follows of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that anybody has to hear.
    None,
    /// The task is healthy again, or for the first time.
    Healthy,
    /// It is not.
    Unhealthy,
    /// It is not, and has been given its chances.
    Hopeless,
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

    /// Takes in one probe.
    pub(super) fn see(&mut self, good: bool, now: Instant) -> News {
        if good {
            self.failures = 0;
            return match self.last.replace(true) {
                Some(true) => News::None,
                _ => News::Healthy,
            };
        }
        if self.last.is_none() && now < self.grace_until {
            return News::None;
        }
        self.last = Some(false);
        self.failures = self.failures.saturating_add(1);
        // Mesos' zero never kills.
        match self.failures_max > 0 && self.failures >= self.failures_max {
            true => News::Hopeless,
            false => News::Unhealthy,
        }
    }
}
