//! When a refused client shall return: `Retry-After` grows while many requests of a priority level are refused, and falls when
//! few are.

use std::collections::VecDeque;

use crate::rows::Seconds;

/// The longest time that a client is asked to wait, in seconds (upstream's).
const RETRY_MAX: Seconds = 32;

/// Counts refused requests of a priority level by second.
#[derive(Debug, Clone)]
pub struct DropTracker {
    /// Completed seconds and their refusals.
    history: VecDeque<(Seconds, u64)>,
    current: (Seconds, u64),
    retry_after: Seconds,
    updated: Seconds,
}

impl Default for DropTracker {
    fn default() -> DropTracker {
        DropTracker { history: VecDeque::new(), current: (0, 0), retry_after: 1, updated: 0 }
    }
}

impl DropTracker {
    /// Counts a refusal.
    pub fn record(&mut self, now: Seconds) {
        if self.current.0 == now {
            self.current.1 += 1;
            return;
        }
        self.history.push_back(self.current);
        self.current = (now, 1);
        let needed = (2 * self.retry_after).min(RETRY_MAX);
        while self.history.front().is_some_and(|(second, _)| now - second > needed) {
            self.history.pop_front();
        }
        self.update(now);
    }

    /// The seconds that a client shall wait.
    pub fn retry_after(&self) -> Seconds {
        self.retry_after
    }

    /// Fewer refusals than seconds: a second less. At least three a second: twice as long, once in that time.
    fn update(&mut self, now: Seconds) {
        let since = now - self.retry_after;
        let recent = self.history.iter().filter(|(second, _)| *second >= since);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        let limit = self.retry_after.unsigned_abs();
        if refused < limit {
            self.retry_after = (self.retry_after - 1).max(1);
        } else if refused >= 3 * limit && now - self.updated >= self.retry_after {
            self.retry_after = (2 * self.retry_after).min(RETRY_MAX);
            self.updated = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_refusals_and_falls_without() {
        let mut drops = DropTracker::default();
        assert_eq!(drops.retry_after(), 1);
        for second in 100..200 {
            (0..200).for_each(|_| drops.record(second));
        }
        assert_eq!(drops.retry_after(), RETRY_MAX);
        for second in (300..2_000).step_by(40) {
            drops.record(second);
        }
        assert_eq!(drops.retry_after(), 1);
    }
}
