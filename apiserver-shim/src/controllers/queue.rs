//! A work queue: each key once, with back-off after failures, and never two looks at one key at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// The first rest after a failure; doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest rest.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Entry {
    queued: bool,
    busy: bool,
    /// Asked for again while busy.
    again: bool,
    failures: u32,
    /// It must not be looked at before this revision has been seen.
    needs: u64,
    due: Option<Instant>,
}

/// A queue of keys.
#[derive(Debug)]
pub struct WorkQueue<K> {
    entries: BTreeMap<K, Entry>,
    ready: VecDeque<K>,
    delayed: BTreeMap<(Instant, K), ()>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue { entries: BTreeMap::new(), ready: VecDeque::new(), delayed: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// Asks for a look at a key, once everything up to revision `needs` has been seen.
    pub fn add(&mut self, key: K, needs: u64) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.needs = entry.needs.max(needs);
        if entry.busy {
            entry.again = true;
        } else if !entry.queued {
            entry.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Asks for a look at a time; the earliest counts.
    pub fn add_at(&mut self, key: K, at: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some(due) = entry.due {
            if due <= at {
                return;
            }
            self.delayed.remove(&(due, key.clone()));
        }
        entry.due = Some(at);
        self.delayed.insert((at, key), ());
    }

    /// Makes ready what is due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry().filter(|e| e.key().0 <= now) {
            let ((_, key), ()) = entry.remove_entry();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
            }
            self.add(key, 0);
        }
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.keys().next().map(|(at, _)| *at)
    }

    /// The next key whose needs are met; it is busy until [`WorkQueue::done`].
    pub fn take(&mut self, seen: u64) -> Option<K> {
        for _ in 0..self.ready.len() {
            let key = self.ready.pop_front()?;
            let entry = self.entries.entry(key.clone()).or_default();
            if entry.needs > seen {
                self.ready.push_back(key);
                continue;
            }
            entry.queued = false;
            entry.busy = true;
            return Some(key);
        }
        None
    }

    /// The least revision that a waiting key needs beyond `seen`.
    pub fn waits_for(&self, seen: u64) -> Option<u64> {
        let needs = self.ready.iter().filter_map(|k| self.entries.get(k)).map(|e| e.needs);
        needs.filter(|n| *n > seen).min()
    }

    /// The look is over; the next one needs revision `needs`. After a failure the key is tried again with back-off.
    pub fn done(&mut self, key: &K, needs: u64, failed: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.busy = false;
        entry.needs = entry.needs.max(needs);
        let again = std::mem::take(&mut entry.again);
        if failed {
            let rest = BACKOFF_FIRST.saturating_mul(1 << entry.failures.min(20)).min(BACKOFF_MAX);
            entry.failures += 1;
            self.add_at(key.clone(), now + rest);
            return;
        }
        entry.failures = 0;
        if again {
            self.add(key.clone(), 0);
        } else if entry.due.is_none() {
            // Needs outlive the entry only as long as somebody may ask too early; the caches have them by then.
            if needs == 0 {
                self.entries.remove(key);
            }
        }
    }

    /// Forgets keys that nobody waits for and whose needs are met.
    pub fn trim(&mut self, seen: u64) {
        self.entries.retain(|_, e| e.queued || e.busy || e.due.is_some() || e.needs > seen || e.failures > 0);
    }
}
