//! Moments and the two sums that the machines need of them, saturating instead of panicking.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `moment` plus `length`.
pub fn after(moment: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    moment.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// How long `moment` lies behind `now`; zero if it lies ahead.
pub fn since(now: Timestamp, moment: Timestamp) -> Duration {
    now.duration_since(moment).try_into().unwrap_or(Duration::ZERO)
}

/// A moment as Kubernetes prints it: whole seconds.
pub fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}
