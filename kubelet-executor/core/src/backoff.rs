//! Exponential back-off after failures: 10 s, doubled up to 5 min, reset after 10 min without a failure.

use std::time::Duration;

/// First delay, as upstream.
pub const BASE: Duration = Duration::from_secs(10);
/// Longest delay, as upstream.
pub const MAX: Duration = Duration::from_secs(300);
/// A container that ran for this long starts again at [`BASE`].
pub const RESET_AFTER: Duration = Duration::from_secs(600);

/// The number of consecutive failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The state after `failures` consecutive failures, for adopted containers.
    pub fn after(failures: u32) -> Self {
        Self { failures: failures.min(16) }
    }

    /// Counts the failure of a container that ran for `ran` and returns the delay of the next start. The first
    /// restart has no delay.
    pub fn restart(&mut self, ran: Duration) -> Duration {
        if ran >= RESET_AFTER {
            self.failures = 0;
        }
        let delay = self.delay();
        self.failures = (self.failures + 1).min(16);
        delay
    }

    /// Counts a failure before anything ran and returns the delay, at least [`BASE`].
    pub fn failed(&mut self) -> Duration {
        self.failures = (self.failures + 1).min(16);
        self.delay()
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn delay(self) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            n => BASE.saturating_mul(1 << (n - 1).min(10)).min(MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_reset_after_ten() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..8).map(|_| backoff.restart(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.restart(RESET_AFTER).as_secs(), 0);
        assert_eq!(backoff.restart(Duration::ZERO).as_secs(), 10);
        let mut pulls = Backoff::default();
        assert_eq!((pulls.failed().as_secs(), pulls.failed().as_secs()), (10, 20));
    }
}
