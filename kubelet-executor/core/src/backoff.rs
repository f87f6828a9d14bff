//! Back-off after failures: 10 s doubling to 5 min, forgotten after 10 min of good conduct.

use std::time::Duration;

/// First delay.
pub const BASE: Duration = Duration::from_secs(10);
/// Longest delay.
pub const MAX: Duration = Duration::from_secs(300);
/// A container that ran this long starts over at [`BASE`].
pub const RESET_AFTER: Duration = Duration::from_secs(600);

/// How many failures in a row there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The state after `failures` in a row, for adoption.
    pub fn after(failures: u32) -> Self {
        Self { failures: failures.min(16) }
    }

    /// Notes a failure of something that had run for `ran`; answers how long to wait before the next try.
    /// The first retry comes at once.
    pub fn restart(&mut self, ran: Duration) -> Duration {
        if ran >= RESET_AFTER {
            self.failures = 0;
        }
        let delay = self.delay();
        self.failures = (self.failures + 1).min(16);
        delay
    }

    /// Notes a failure before anything ran; answers how long to wait, at least [`BASE`].
    pub fn failed(&mut self) -> Duration {
        self.failures = (self.failures + 1).min(16);
        self.delay()
    }

    /// Forgets the failures.
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
    fn doubles_to_five_minutes_and_forgets_after_ten() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..8).map(|_| backoff.restart(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.restart(RESET_AFTER).as_secs(), 0);
        assert_eq!(backoff.restart(Duration::ZERO).as_secs(), 10);
        let mut pulls = Backoff::default();
        assert_eq!((pulls.failed().as_secs(), pulls.failed().as_secs()), (10, 20));
    }
}
