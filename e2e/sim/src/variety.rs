//! What half of the seeds have beside the rest: quotas, weights, reservations and drains by operators, frameworks with volumes and on the
//! Java library's driver, preemption for guarantees, calls that are repeated or overtake each other, and clocks that jump. It
//! draws from a generator of its own, so that the other half of the seeds does not change with it.

use std::time::Duration;

use kernel_model::time::Time;

use crate::random::Random;

/// How long a role with demand misses its guarantee until tasks of others end.
pub(crate) const PREEMPT_AFTER: Duration = Duration::from_secs(5);

/// By how much a process's clock may be wrong when it starts.
pub(crate) const WRONG_MAX: Duration = Duration::from_secs(3600);

/// Which of it a run has.
pub(crate) struct Variety {
    pub(crate) random: Random,
    pub(crate) on: bool,
    /// Processes start with clocks that differ, and clocks jump forward.
    pub(crate) clocks: bool,
    /// Calls over HTTP arrive twice, or later than those sent after them.
    pub(crate) loose_calls: bool,
    /// Draws which agents are drained, beside the other draws, so that the seeds without a drain do not change.
    pub(crate) drains: Random,
    /// Tasks end for guarantees; one framework fills the cluster.
    pub(crate) preemption: bool,
}

impl Variety {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed.rotate_left(16) ^ 0x0f0a);
        let on = random.permille(500);
        let mut also = |often| on && random.permille(often);
        let (clocks, loose_calls, preemption) = (also(250), also(500), also(350));
        let drains = Random::new(seed.rotate_left(24) ^ 0xd7a1);
        Self { random, on, clocks, loose_calls, drains, preemption }
    }
}

/// The clock of a process: so many nanoseconds ahead of the world's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock(i64);

impl Clock {
    pub(crate) fn read(self, at: Time) -> Time {
        Time(at.0.saturating_add_signed(self.0))
    }

    /// When the clock shows this time.
    pub(crate) fn when(self, shown: Time) -> Time {
        Time(shown.0.saturating_add_signed(-self.0))
    }

    pub(crate) fn jump(&mut self, by: Duration) {
        self.0 += i64::try_from(by.as_nanos()).unwrap_or_default();
    }

    /// A clock that is wrong by up to so much, either way.
    pub(crate) fn wrong(random: &mut Random, by: Duration) -> Self {
        let most = by.as_nanos() as i64;
        Self(random.below(2 * most as u64) as i64 - most)
    }
}
