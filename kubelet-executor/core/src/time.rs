//! Saturating arithmetic on timestamps.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `moment` plus `length`, saturating.
pub fn after(moment: Timestamp, length: Duration) -> Timestamp {
    let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
    moment.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// The time from `moment` to `now`; zero if `moment` is later.
pub fn since(now: Timestamp, moment: Timestamp) -> Duration {
    now.duration_since(moment).try_into().unwrap_or(Duration::ZERO)
}

/// Truncates to whole seconds, as Kubernetes prints times.
pub fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}
