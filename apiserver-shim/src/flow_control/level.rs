//! A priority level: its queues behind a lock, and the requests that wait for a message.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use shim_core::flow_control::queue_set::dump::QueueSetDump;
use shim_core::flow_control::{
    Arrival, Demand, DropTracker, QueueSet, QueueSetConfig, RequestKey, Started, Work,
};
use tokio::sync::oneshot;

use super::{Details, Schema};
use crate::storage::registry::now;

type Handle = oneshot::Sender<RequestKey>;
/// What a waiting request waits for.
pub(super) type Ticket = oneshot::Receiver<RequestKey>;

pub(super) struct Level {
    queues: Mutex<QueueSet<Handle, Details>>,
    drops: Mutex<DropTracker>,
    config: Mutex<QueueSetConfig>,
    has_queues: AtomicBool,
    limit: AtomicU64,
    seats_per_request: AtomicU64,
    start: Instant,
}

/// The seats of a request; they are returned when this is dropped.
pub struct Seats {
    schema: Arc<Schema>,
    key: RequestKey,
}

impl Seats {
    pub(super) fn new(schema: Arc<Schema>, key: RequestKey) -> Seats {
        schema.metrics.start(key.seats());
        Seats { schema, key }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let Schema { level, metrics, .. } = &*self.schema;
        let now = level.now();
        level.finish(now, self.key);
        metrics.end(self.key.seats(), now.saturating_sub(self.key.started()));
    }
}

/// A waiting request. Dropped early, because the client has left, it makes room for others.
struct Waiting<'a> {
    level: &'a Level,
    number: u64,
    ticket: Ticket,
    served: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let now = self.level.now();
        let gave_up = self.level.change(|queues, started| queues.give_up(now, self.number, started));
        // It was started at the same time: its seats go back. Closed first, so that they are either here or refused to the
        // sender, which returns them itself.
        self.ticket.close();
        if !gave_up && let Ok(key) = self.ticket.try_recv() {
            self.level.finish(now, key);
        }
    }
}

impl Level {
    pub fn new(start: Instant, config: QueueSetConfig, limit: u64, seats_per_request: u64) -> Level {
        Level {
            queues: Mutex::new(QueueSet::new(start.elapsed(), config, limit)),
            drops: Mutex::default(),
            config: Mutex::new(config),
            has_queues: has_queues(config).into(),
            limit: limit.into(),
            seats_per_request: seats_per_request.into(),
            start,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn has_queues(&self) -> bool {
        self.has_queues.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub fn seats_per_request(&self) -> u64 {
        self.seats_per_request.load(Ordering::Relaxed)
    }

    /// Changes the state, and tells the requests that may start. One whose client has left meanwhile returns its seats, which
    /// may start others.
    fn change<T>(&self, change: impl FnOnce(&mut QueueSet<Handle, Details>, &mut Started<Handle>) -> T) -> T {
        let mut started = Started::new();
        let changed = change(&mut lock(&self.queues), &mut started);
        while let Some((handle, key)) = started.pop() {
            if let Err(key) = handle.send(key) {
                let now = self.now();
                lock(&self.queues).finish(now, key, &mut started);
            }
        }
        changed
    }

    pub fn arrive(&self, flow: u64, work: Work, details: Details) -> (Arrival, Option<Ticket>) {
        let now = self.now();
        let mut ticket = None;
        let handle = || {
            let (handle, receiver) = oneshot::channel();
            ticket = Some(receiver);
            handle
        };
        let arrival =
            self.change(|queues, started| queues.arrive(now, flow, (work, details), handle, started));
        (arrival, ticket)
    }

    /// Waits until a request may start; `None` if it takes too long.
    pub async fn wait(&self, number: u64, ticket: Option<Ticket>, until: Instant) -> Option<RequestKey> {
        let mut waiting = Waiting { level: self, number, ticket: ticket?, served: false };
        let started = tokio::time::timeout_at(until.into(), &mut waiting.ticket).await;
        let key = started.ok()?.ok()?;
        waiting.served = true;
        Some(key)
    }

    fn finish(&self, now: Duration, key: RequestKey) {
        self.change(|queues, started| queues.finish(now, key, started));
    }

    /// Counts a refusal; returns when the client shall return.
    pub fn refuse(&self) -> i64 {
        let mut drops = lock(&self.drops);
        drops.record(now().seconds());
        drops.retry_after()
    }

    pub fn configure(&self, config: QueueSetConfig, limit: u64, seats_per_request: u64) {
        *lock(&self.config) = config;
        self.has_queues.store(has_queues(config), Ordering::Relaxed);
        self.seats_per_request.store(seats_per_request, Ordering::Relaxed);
        self.set_limit(limit);
    }

    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        let (now, config) = (self.now(), *lock(&self.config));
        self.change(|queues, started| queues.configure(now, config, limit, started));
    }

    pub fn is_idle(&self) -> bool {
        lock(&self.queues).is_idle()
    }

    pub fn dump(&self) -> QueueSetDump<Details> {
        lock(&self.queues).dump()
    }

    pub fn take_demand(&self) -> Demand {
        let now = self.now();
        lock(&self.queues).take_demand(now)
    }
}

fn has_queues(config: QueueSetConfig) -> bool {
    matches!(config, QueueSetConfig::Queue { .. })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("invariant: no holder of the lock panics")
}
