//! The one place that reads the clock for the machines: it starts at the wall clock and then only goes forward.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel_model::time::Time;

/// Wall time that no adjustment of the system clock moves back.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// Reads the wall clock once.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), wall: Time(0) + wall }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.wall + self.started.elapsed()
    }

    /// When the clock was started.
    pub fn started_at(&self) -> Time {
        self.wall
    }
}
