//! The in-memory index with bounded history (multi-version concurrency control). Pure and synchronous; the memory and
//! the embedded backend add locks, disks and watchers.
//!
//! A write has two steps, so that a disk write can be between them: a [`Draft`] evaluates transactions against the
//! index without changing it, and [`Index::apply`] makes the draft the current state.
//!
//! Past states are not stored: they are computed by undoing the history's events, so only readers of the past pay for
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;
use std::time::Duration;

use crate::{
    Compare, Condition, Error, Event, Key, KeyValue, Listing, Op, Revision, Txn, TxnOutcome, WatchBatch,
};
use crate::{ListRequest, watch::restrict};

#[cfg(test)]
mod tests;

/// Most transactions in the history. Ten thousand Pods created, bound and started at once are some 50,000 revisions; a
/// watcher that lost its connection can then still resume.
pub const HISTORY_REVISIONS_MAX: usize = 65_536;

/// Most bytes of the history, replaced values included: half of the idle process's memory target, reached only under
/// heavy writing.
pub const HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The maximum age of the history: twice upstream's compaction interval.
pub const HISTORY_AGE_MAX: Duration = Duration::from_secs(600);

/// The overhead of an event beside its replaced value (measured: the event, the keys' handles and the shared slice
/// around them).
const EVENT_BYTES: usize = 256;

/// The current state and the history.
#[derive(Debug)]
pub(crate) struct Index {
    current: BTreeMap<Key, KeyValue>,
    history: VecDeque<HistoryEntry>,
    history_bytes: usize,
    revision: Revision,
    floor: Revision,
}

/// A transaction in the history.
#[derive(Debug)]
struct HistoryEntry {
    batch: WatchBatch,
    bytes: usize,
    /// When it was applied: time since an arbitrary start.
    at: Duration,
}

impl Index {
    /// Creates an empty index.
    pub(crate) fn new() -> Index {
        Index::load(Vec::new(), Revision::FIRST)
    }

    /// Creates an index from a stored state, without history: the floor is its revision.
    pub(crate) fn load(kvs: Vec<KeyValue>, revision: Revision) -> Index {
        Index {
            current: kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect(),
            history: VecDeque::new(),
            history_bytes: 0,
            revision,
            floor: revision,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&KeyValue> {
        self.current.get(key)
    }

    /// See [`crate::Store::list`].
    pub(crate) fn list(&self, request: &ListRequest) -> Result<Listing, Error> {
        let revision = request.at.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(Error::FutureRevision { requested: revision, current: self.revision });
        }
        self.check_floor(revision)?;
        let past = self.undo(&request.prefix, revision);
        let start = start_of(request);
        let mut found = Merged {
            now: self.current.range::<str, _>((start, Bound::Unbounded)).peekable(),
            past: past.range::<str, _>((start, Bound::Unbounded)).peekable(),
        }
        .take_while(|kv| kv.key.as_str().starts_with(&request.prefix));
        let kvs: Vec<KeyValue> = match request.limit {
            0 => found.by_ref().cloned().collect(),
            limit => found.by_ref().take(limit).cloned().collect(),
        };
        let remaining = found.count() as u64;
        Ok(Listing { kvs, revision, more: remaining > 0, remaining })
    }

    /// The values at `revision` of the keys with this prefix that changed after it.
    fn undo(&self, prefix: &str, revision: Revision) -> BTreeMap<Key, Option<KeyValue>> {
        let mut past = BTreeMap::new();
        for remembered in self.history.iter().rev().take_while(|r| r.batch.revision > revision) {
            for event in remembered.batch.events.iter().filter(|e| e.key().as_str().starts_with(prefix)) {
                let before = match event {
                    Event::Put { prev, .. } => prev.clone(),
                    Event::Delete { prev, .. } => Some(prev.clone()),
                };
                past.insert(event.key().clone(), before);
            }
        }
        past
    }

    /// The batches of the history after `after`, restricted to the prefix.
    pub(crate) fn changes(&self, prefix: &str, after: Revision) -> Result<VecDeque<WatchBatch>, Error> {
        self.check_floor(after)?;
        let first = self.history.partition_point(|r| r.batch.revision <= after);
        Ok(self.history.range(first..).filter_map(|r| restrict(&r.batch, prefix)).collect())
    }

    /// Whether this state, or the one that results from applying `draft` to it, is that of `other`. Histories may differ.
    pub(crate) fn has_state_of(&self, other: &Index, draft: Option<&Draft>) -> bool {
        let revision = draft.map_or(self.revision, Draft::revision);
        let written = |key: &Key| draft.and_then(|draft| draft.writes.get(key));
        let kept = self.current.values().filter(|kv| written(&kv.key).is_none());
        let new = draft.into_iter().flat_map(|draft| draft.writes.values().flatten());
        let mut count = 0;
        let same = kept.chain(new).all(|kv| {
            count += 1;
            other.current.get(&kv.key) == Some(kv)
        });
        same && revision == other.revision && count == other.current.len()
    }

    /// See [`crate::Store::compact`].
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision > self.revision {
            return Err(Error::FutureRevision { requested: revision, current: self.revision });
        }
        while self.history.front().is_some_and(|r| r.batch.revision <= revision) {
            self.forget_oldest();
        }
        self.floor = self.floor.max(revision);
        Ok(())
    }

    /// Makes a draft the current state. `now` is the time since an arbitrary, fixed start. Returns the new batches for
    /// the watchers.
    pub(crate) fn apply(&mut self, draft: Draft, now: Duration) -> Vec<WatchBatch> {
        let Draft { revision, writes, batches } = draft;
        assert_eq!(revision.0, self.revision.0 + batches.len() as u64, "a draft is applied to its own base");
        for (key, written) in writes {
            match written {
                Some(kv) => self.current.insert(key, kv),
                None => self.current.remove(&key),
            };
        }
        for batch in &batches {
            let bytes = batch.events.iter().map(event_bytes).sum();
            self.history_bytes += bytes;
            self.history.push_back(HistoryEntry { batch: batch.clone(), bytes, at: now });
        }
        self.revision = revision;
        self.trim(now);
        batches
    }

    fn trim(&mut self, now: Duration) {
        let expired = now.saturating_sub(HISTORY_AGE_MAX);
        while let Some(oldest) = self.history.front() {
            let over = self.history.len() > HISTORY_REVISIONS_MAX || self.history_bytes > HISTORY_BYTES_MAX;
            if !over && oldest.at >= expired {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.history.pop_front() {
            self.history_bytes -= oldest.bytes;
            self.floor = oldest.batch.revision;
        }
    }

    fn check_floor(&self, requested: Revision) -> Result<(), Error> {
        match requested < self.floor {
            true => Err(Error::Compacted { requested, floor: self.floor }),
            false => Ok(()),
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let replaced = match event {
        Event::Put { prev, .. } => prev.as_ref(),
        Event::Delete { prev, .. } => Some(prev),
    };
    EVENT_BYTES + event.key().as_str().len() + replaced.map_or(0, |kv| kv.value.len())
}

fn start_of(request: &ListRequest) -> Bound<&str> {
    match &request.start_after {
        Some(after) if after.as_str() >= request.prefix.as_str() => Bound::Excluded(after.as_str()),
        _ => Bound::Included(request.prefix.as_str()),
    }
}

/// Merges the current state with the undone changes, in order.
struct Merged<'a, N, P>
where
    N: Iterator<Item = (&'a Key, &'a KeyValue)>,
    P: Iterator<Item = (&'a Key, &'a Option<KeyValue>)>,
{
    now: Peekable<N>,
    past: Peekable<P>,
}

impl<'a, N, P> Iterator for Merged<'a, N, P>
where
    N: Iterator<Item = (&'a Key, &'a KeyValue)>,
    P: Iterator<Item = (&'a Key, &'a Option<KeyValue>)>,
{
    type Item = &'a KeyValue;

    fn next(&mut self) -> Option<&'a KeyValue> {
        loop {
            let Some((past_key, before)) = self.past.peek().copied() else {
                return self.now.next().map(|(_, kv)| kv);
            };
            match self.now.peek() {
                Some((key, _)) if *key < past_key => return self.now.next().map(|(_, kv)| kv),
                Some((key, _)) if *key == past_key => {
                    self.now.next();
                }
                _ => {}
            }
            self.past.next();
            if let Some(kv) = before {
                return Some(kv);
            }
        }
    }
}

/// Transactions evaluated in order on top of an index, and not applied yet.
#[derive(Debug)]
pub(crate) struct Draft {
    revision: Revision,
    writes: BTreeMap<Key, Option<KeyValue>>,
    batches: Vec<WatchBatch>,
}

impl Draft {
    /// Creates an empty draft.
    pub(crate) fn on(base: &Index) -> Draft {
        Draft { revision: base.revision, writes: BTreeMap::new(), batches: Vec::new() }
    }

    /// The revision after applying the draft.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether the draft has no writes.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The final value of each written key; `None` if it is deleted.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (&Key, Option<&KeyValue>)> {
        self.writes.iter().map(|(key, kv)| (key, kv.as_ref()))
    }

    /// Whether a transaction writes a key that does not exist.
    pub(crate) fn creates(&self, base: &Index, txn: &Txn) -> bool {
        txn.ops.iter().any(|op| matches!(op, Op::Put { key, .. } if self.get(base, key).is_none()))
    }

    /// Evaluates a validated transaction on top of the earlier ones.
    pub(crate) fn evaluate(&mut self, base: &Index, txn: Txn) -> TxnOutcome {
        if !txn.compares.iter().all(|compare| holds(compare, self.get(base, &compare.key))) {
            let current = txn.compares.into_iter().map(|compare| {
                let kv = self.get(base, &compare.key).cloned();
                (compare.key, kv)
            });
            return TxnOutcome::Conflict { current: current.collect(), revision: self.revision };
        }
        let revision = self.revision.next();
        let mut events = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            let prev = self.get(base, op.key()).cloned();
            match op {
                Op::Put { key, value } => {
                    let kv = KeyValue {
                        key: prev.as_ref().map_or(key, |prev| prev.key.clone()),
                        value,
                        create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
                        mod_revision: revision,
                        version: prev.as_ref().map_or(1, |prev| prev.version + 1),
                        unreadable: None,
                    };
                    self.writes.insert(kv.key.clone(), Some(kv.clone()));
                    events.push(Event::Put { kv, prev });
                }
                Op::Delete { key } => {
                    if let Some(prev) = prev {
                        self.writes.insert(prev.key.clone(), None);
                        events.push(Event::Delete { key, prev, revision });
                    }
                }
            }
        }
        if !events.is_empty() {
            self.revision = revision;
            self.batches.push(WatchBatch { revision, events: events.into() });
        }
        TxnOutcome::Committed { revision: self.revision }
    }

    fn get<'a>(&'a self, base: &'a Index, key: &Key) -> Option<&'a KeyValue> {
        match self.writes.get(key) {
            Some(written) => written.as_ref(),
            None => base.get(key),
        }
    }
}

fn holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    match compare.condition {
        Condition::Absent => kv.is_none(),
        Condition::Exists => kv.is_some(),
        Condition::ModRevision(revision) => kv.map_or(Revision::ZERO, |kv| kv.mod_revision) == revision,
    }
}
