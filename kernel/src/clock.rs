//! The only clock of the state machines: it starts at the wall clock's time and is monotonic.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel_model::time::Time;

/// A monotonic wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: Time,
}

impl Clock {
    /// Starts the clock at the wall clock's time.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), wall: Time(0) + wall }
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.wall + self.started.elapsed()
    }

    /// When the clock was started.
    pub fn started_at(&self) -> Time {
        self.wall
    }
}
