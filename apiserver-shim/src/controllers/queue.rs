//! A work queue like client-go's: keys are deduplicated, no key is processed concurrently, failures back off
//! exponentially, and retries have an overall rate limit. In addition, a key can wait until the cache has reached a
//! revision.

mod metrics;
mod stats;

pub use metrics::workqueue_collector;
pub use stats::{Durations, QueueStats};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The back-off after the first failure; it doubles with each further one. As client-go.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest back-off. As client-go.
const BACKOFF_MAX: Duration = Duration::from_secs(1000);
/// The rate limit of retries over all keys: 10 per second. As client-go.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The burst of that rate limit: 100 retries. As client-go.
const RETRY_BURST: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Entry {
    /// When the key was added to `ready` or `waiting`.
    queued: Option<Instant>,
    /// When the key was taken.
    busy: Option<Instant>,
    /// Added again while busy.
    dirty: bool,
    failures: u32,
    /// The key must not be taken before the cache has reached this revision.
    needs: u64,
    due: Option<Instant>,
}

/// A queue of keys.
#[derive(Debug)]
pub struct WorkQueue<K> {
    entries: BTreeMap<K, Entry>,
    ready: VecDeque<K>,
    /// Keys that wait for a revision.
    waiting: BTreeSet<(u64, K)>,
    delayed: BTreeSet<(Instant, K)>,
    seen: u64,
    /// When the rate limit permits the next retry without burst (generic cell rate algorithm).
    retry_budget: Option<Instant>,
    stats: QueueStats,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue {
            entries: BTreeMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            delayed: BTreeSet::new(),
            seen: 0,
            retry_budget: None,
            stats: QueueStats::default(),
        }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// Adds a key that may be taken once the cache has reached revision `needs`.
    pub fn add(&mut self, key: K, needs: u64, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.needs = entry.needs.max(needs);
        if entry.busy.is_some() {
            if !entry.dirty {
                entry.dirty = true;
                self.stats.adds += 1;
            }
        } else if entry.queued.is_none() {
            entry.queued = Some(now);
            self.stats.adds += 1;
            self.ready.push_back(key);
        }
    }

    /// Adds a key after a delay; the earliest of several times applies.
    pub fn add_at(&mut self, key: K, at: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(due) = entry.due {
            if due <= at {
                return;
            }
            self.delayed.remove(&(due, key.clone()));
        }
        entry.due = Some(at);
        self.delayed.insert((at, key));
    }

    /// Adds the keys that are due.
    pub fn wake(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.delayed.pop_first() else { return };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
            }
            self.add(key, 0, now);
        }
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Takes the next key whose revision has been reached. It is busy until [`WorkQueue::done`].
    pub fn take(&mut self, seen: u64, now: Instant) -> Option<K> {
        self.seen = self.seen.max(seen);
        while self.waiting.first().is_some_and(|(needs, _)| *needs <= self.seen) {
            let Some((_, key)) = self.waiting.pop_first() else { break };
            self.ready.push_back(key);
        }
        while let Some(key) = self.ready.pop_front() {
            let entry = self.entries.entry(key.clone()).or_default();
            if entry.needs > self.seen {
                self.waiting.insert((entry.needs, key));
                continue;
            }
            if let Some(since) = entry.queued.take() {
                self.stats.queue_duration.observe(now.saturating_duration_since(since));
            }
            entry.busy = Some(now);
            return Some(key);
        }
        None
    }

    /// The lowest revision that a key waits for.
    pub fn waits_for(&self) -> Option<u64> {
        self.waiting.first().map(|(needs, _)| *needs)
    }

    /// Marks a key as processed. The next reconcile of it needs revision `needs`. After a failure it is retried with
    /// back-off.
    pub fn done(&mut self, key: &K, needs: u64, failed: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(since) = entry.busy.take() {
            self.stats.work_duration.observe(now.saturating_duration_since(since));
        }
        entry.needs = entry.needs.max(needs);
        let dirty = std::mem::take(&mut entry.dirty);
        if failed {
            let backoff = BACKOFF_FIRST.saturating_mul(1 << entry.failures.min(20)).min(BACKOFF_MAX);
            entry.failures += 1;
            self.stats.retries += 1;
            let delay = backoff.max(self.reserve_retry(now));
            self.add_at(key.clone(), now + delay);
        } else {
            entry.failures = 0;
        }
        // A change that arrived meanwhile is not delayed by the back-off.
        let Some(entry) = self.entries.get_mut(key) else { return };
        if dirty {
            entry.queued = Some(now);
            self.ready.push_back(key.clone());
        } else if entry.due.is_none() && entry.needs <= self.seen {
            self.entries.remove(key);
        }
    }

    /// Reserves a retry and returns its delay by the rate limit.
    fn reserve_retry(&mut self, now: Instant) -> Duration {
        let used_up = self.retry_budget.map_or(now, |at| at.max(now)) + RETRY_INTERVAL;
        self.retry_budget = Some(used_up);
        used_up.saturating_duration_since(now).saturating_sub(RETRY_BURST)
    }

    /// Removes entries that only hold a revision which has been reached.
    pub fn trim(&mut self) {
        let seen = self.seen;
        self.entries.retain(|_, e| {
            e.queued.is_some() || e.busy.is_some() || e.due.is_some() || e.needs > seen || e.failures > 0
        });
    }

    /// The statistics behind the `workqueue_*` metrics.
    pub fn stats(&self, now: Instant) -> QueueStats {
        let busy =
            || self.entries.values().filter_map(|e| e.busy).map(|at| now.saturating_duration_since(at));
        QueueStats {
            depth: self.ready.len() + self.waiting.len(),
            unfinished: busy().sum(),
            longest_running: busy().max().unwrap_or_default(),
            ..self.stats.clone()
        }
    }
}

#[cfg(test)]
mod tests;
