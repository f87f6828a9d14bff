//! The health of a task from its probe results, by Mesos' rules: failures before the first success count only after the
//! grace period, only changes are reported, and a number of consecutive failures kills the task.

use std::time::Duration;

use kernel_model::time::Time;

/// What a task's health check allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Consecutive failures that kill the task; zero for never, as in Mesos.
    pub failures_max: u32,
    /// For how long after the start failures do not count.
    pub grace: Duration,
}

/// The health of a task.
#[derive(Debug, Clone)]
pub struct Health {
    failures: u32,
    failures_max: u32,
    grace_until: Time,
    last: Option<bool>,
}

/// The change caused by a probe result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
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
    /// The unknown health of a task that has just been started.
    pub fn new(policy: HealthPolicy, now: Time) -> Self {
        Self { failures: 0, failures_max: policy.failures_max, grace_until: now + policy.grace, last: None }
    }

    /// Records a probe result.
    pub fn record(&mut self, good: bool, now: Time) -> HealthChange {
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
        match self.failures_max > 0 && self.failures >= self.failures_max {
            true => HealthChange::GiveUp,
            false => HealthChange::Unhealthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_mesos_rules() {
        use HealthChange::{GiveUp, Healthy, Unhealthy};
        let policy = HealthPolicy { failures_max: 3, grace: Duration::from_secs(10) };
        let at = |seconds| Time::default() + Duration::from_secs(seconds);
        let mut health = Health::new(policy, at(0));
        let seen = [
            (1, false, HealthChange::None),
            (2, true, Healthy),
            (3, true, HealthChange::None),
            (4, false, Unhealthy),
            (5, true, Healthy),
            (6, false, Unhealthy),
            (7, false, Unhealthy),
            (8, false, GiveUp),
        ];
        for (second, good, change) in seen {
            assert_eq!(health.record(good, at(second)), change, "second {second}");
        }
        let mut never_healthy = Health::new(policy, at(0));
        let seen = [9, 10, 11, 12].map(|second| never_healthy.record(false, at(second)));
        assert_eq!(seen, [HealthChange::None, Unhealthy, Unhealthy, GiveUp]);
        let mut patient = Health::new(HealthPolicy { failures_max: 0, ..policy }, at(0));
        assert!((20..90).all(|second| patient.record(false, at(second)) == Unhealthy));
    }
}
