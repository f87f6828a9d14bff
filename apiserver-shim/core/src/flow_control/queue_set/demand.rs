//! The demand of a level as a function of time: its average, deviation and maximum over a period.

use std::time::Duration;

use crate::flow_control::Demand;

#[derive(Debug)]
pub(super) struct DemandIntegrator {
    value: f64,
    updated: Duration,
    seconds: f64,
    sum: f64,
    sum_of_squares: f64,
    highest: f64,
}

impl DemandIntegrator {
    pub fn new(now: Duration) -> DemandIntegrator {
        DemandIntegrator {
            value: 0.0,
            updated: now,
            seconds: 0.0,
            sum: 0.0,
            sum_of_squares: 0.0,
            highest: 0.0,
        }
    }

    /// The value has been the same until `now`.
    pub fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = now;
        self.seconds += passed;
        self.sum += self.value * passed;
        self.sum_of_squares += self.value * self.value * passed;
    }

    /// The value from now on.
    pub fn set(&mut self, value: f64) {
        self.value = value;
        self.highest = self.highest.max(value);
    }

    /// The demand since the last call.
    pub fn take(&mut self, now: Duration) -> Demand {
        self.advance(now);
        let average = if self.seconds > 0.0 { self.sum / self.seconds } else { self.value };
        let mean_square =
            if self.seconds > 0.0 { self.sum_of_squares / self.seconds } else { average * average };
        let demand = Demand {
            highest: self.highest,
            average,
            deviation: (mean_square - average * average).max(0.0).sqrt(),
        };
        *self = DemandIntegrator {
            value: self.value,
            highest: self.value,
            ..DemandIntegrator::new(self.updated)
        };
        demand
    }
}
