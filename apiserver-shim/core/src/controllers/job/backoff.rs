//! The delay before a failed Pod is replaced.
//!
//! It is computed from the Pods that exist, so that it survives a restart of the server; upstream counts the failures that its
//! process has seen. A Pod that is deleted before it has ended is replaced without a delay.

use super::pods::JobPod;
use crate::rows::{Phase, Seconds};

/// The delay after the first failure; it doubles with each further one. As upstream.
const FIRST: Seconds = 10;
/// The longest delay. As upstream.
const MAX: Seconds = 600;

/// Seconds until a replacement may be created, given the failures since the last success and the time of the last one.
fn remaining(failures: i64, last_failure: Seconds, now: Seconds) -> Seconds {
    if failures <= 0 {
        return 0;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(10);
    let delay = (FIRST << doublings).min(MAX);
    (last_failure + delay - now).max(0)
}

/// Seconds until a Job without limits per index may create Pods.
pub fn of_job(pods: &[JobPod<'_>], now: Seconds) -> Seconds {
    let ends = |phase: Phase| {
        let ended = pods.iter().filter(move |p| p.pod.phase == phase && p.pod.deletion.is_none());
        ended.map(|p| p.pod.job_details().finished_at)
    };
    let last_success = ends(Phase::Succeeded).max().unwrap_or(Seconds::MIN);
    let failures = || ends(Phase::Failed).filter(|at| *at > last_success);
    failures().max().map_or(0, |last| remaining(failures().count() as i64, last, now))
}

/// Seconds until the index of a failed Pod may have a new one.
pub fn of_index(failed: &JobPod<'_>, now: Seconds) -> Seconds {
    let details = failed.pod.job_details();
    remaining(details.all_index_failures() + 1, details.finished_at, now)
}

#[cfg(test)]
mod tests {
    use super::remaining;

    #[test]
    fn the_delay_doubles_up_to_a_limit() {
        let delays: Vec<i64> = (0..10).map(|failures| remaining(failures, 1_000, 1_000)).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(remaining(2, 1_000, 1_015), 5);
        assert_eq!(remaining(2, 1_000, 1_020), 0);
        assert_eq!(remaining(i64::MAX, 1_000, 1_000), 600);
    }
}
