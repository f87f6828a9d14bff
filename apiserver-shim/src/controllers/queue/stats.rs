//! Statistics of a work queue for the `workqueue_*` metrics. Names and buckets are client-go's.

use std::time::Duration;

/// The statistics of a queue.
#[derive(Clone, Debug, Default)]
pub struct QueueStats {
    /// `workqueue_depth`: queued keys.
    pub depth: usize,
    /// `workqueue_adds_total`.
    pub adds: u64,
    /// `workqueue_retries_total`.
    pub retries: u64,
    /// `workqueue_queue_duration_seconds`: from adding a key to taking it.
    pub queue_duration: Durations,
    /// `workqueue_work_duration_seconds`: from taking a key to the end of its writes.
    pub work_duration: Durations,
    /// `workqueue_unfinished_work_seconds`: the sum over all busy keys.
    pub unfinished: Duration,
    /// `workqueue_longest_running_processor_seconds`.
    pub longest_running: Duration,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    counts: [u64; Durations::BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Durations {
    /// The upper bounds of the buckets, in seconds.
    pub const BOUNDS: [f64; 12] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0];

    /// Adds one duration.
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(at) = Self::BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[at] += 1;
        }
        self.count += 1;
        self.sum += duration;
    }

    /// The cumulative count of each bucket, by its upper bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        Self::BOUNDS.into_iter().zip(self.counts).scan(0, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        })
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}
