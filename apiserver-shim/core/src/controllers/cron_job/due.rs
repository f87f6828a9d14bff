//! Which time of a schedule is due, without listing all that were missed.

use shim_model::time::Zone;

use crate::{kinds::cron_job::schedule::Schedule, rows::Seconds};

/// Missed times of which users are warned, as upstream.
const MISSED_MAX: i64 = 100;

/// The last time that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// `None` if none is due.
    pub at: Option<Seconds>,
    /// Whether suspiciously many times were missed before.
    pub too_many: bool,
}

/// The last time of a schedule after `since` and not after `now`.
pub fn last(schedule: &Schedule, zone: &Zone, since: Seconds, now: Seconds) -> Result<Due, &'static str> {
    Ok(search(schedule, zone, since, now)?.0)
}

/// When a schedule has to be looked at next: its first time after the last due one, or else after `since`.
pub fn next(schedule: &Schedule, zone: &Zone, since: Seconds, now: Seconds) -> Seconds {
    let from = match search(schedule, zone, since, now) {
        Ok((Due { at: Some(at), .. }, _)) => at,
        Ok((_, false)) => since,
        Ok((_, true)) | Err(_) => now,
    };
    // Without any time, a day suits as well as any other.
    schedule.next(from, zone).unwrap_or(now + 86_400)
}

/// The last due time, and whether times may have been missed.
fn search(
    schedule: &Schedule,
    zone: &Zone,
    since: Seconds,
    now: Seconds,
) -> Result<(Due, bool), &'static str> {
    const INVALID: &str = "time difference between two schedules is less than 1 second";
    let first = schedule.next(since, zone).ok_or(INVALID)?;
    let due = |at| Due { at, too_many: false };
    if now < first {
        return Ok((due(None), false));
    }
    let second = schedule.next(first, zone).filter(|second| *second > first).ok_or(INVALID)?;
    if now < second {
        return Ok((due(Some(first)), false));
    }
    // An estimate from the first interval, which is exact for regular schedules. From one interval earlier on, each time is
    // looked at.
    let interval = second - first;
    let missed = (now - first) / interval + 1;
    let mut at = first + (missed - 2) * interval;
    let mut last = None;
    while let Some(time) = schedule.next(at, zone).filter(|time| *time <= now) {
        (last, at) = (Some(time), time);
    }
    Ok((Due { at: last, too_many: missed > MISSED_MAX }, true))
}
