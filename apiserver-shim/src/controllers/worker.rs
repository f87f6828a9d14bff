//! The worker of one controller: takes keys from the queue, reconciles them, and executes the plans.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use shim_core::controllers::{
    Controller, EventRecord, ObjectName, Plan, Refusal, Registration, View,
    taint_eviction::TaintEvictionController,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::cache::SharedCache;
use super::events::EventRecorder;
use super::execute::{Outcome, execute};
use super::queue::WorkQueue;
use crate::pipeline::{Identity, Pipeline};

/// Concurrent plans of one controller; they share the store's group commits.
const PLANS_MAX: usize = 64;
/// Reconciles before yielding to other tasks.
const RECONCILES_MAX: usize = 64;

/// The queue between the informers and a worker.
#[derive(Default)]
pub(super) struct Queue {
    queue: Mutex<WorkQueue<ObjectName>>,
    added: Notify,
}

impl Queue {
    pub fn lock(&self) -> MutexGuard<'_, WorkQueue<ObjectName>> {
        self.queue.lock().expect("invariant: no holder of the queue panics")
    }

    /// Adds keys, each with the revision that its reconcile needs.
    pub fn add(&self, keys: Vec<(ObjectName, u64)>, now: Instant) {
        let mut queue = self.lock();
        keys.into_iter().for_each(|(key, needs)| queue.add(key, needs, now));
        drop(queue);
        self.added.notify_one();
    }
}

pub(super) struct Worker {
    controller: Arc<Registration>,
    queue: Arc<Queue>,
    cache: SharedCache,
    pipeline: Pipeline,
    events: EventRecorder,
    plans: JoinSet<(ObjectName, Option<Outcome>)>,
    /// Refused writes, passed to the next reconcile of their key.
    refusals: BTreeMap<ObjectName, Refusal>,
}

impl Worker {
    pub fn new(
        controller: Arc<Registration>,
        queue: Arc<Queue>,
        cache: SharedCache,
        pipeline: Pipeline,
        events: EventRecorder,
    ) -> Worker {
        let (plans, refusals) = (JoinSet::new(), BTreeMap::new());
        Worker { controller, queue, cache, pipeline, events, plans, refusals }
    }

    /// Runs until the informers are dropped.
    pub async fn run(mut self) {
        let mut seen = self.cache.seen();
        loop {
            let revision = *seen.borrow_and_update();
            // Before taking keys: a finished key that changed meanwhile is ready again, and nothing else signals
            // that.
            while let Some(Ok(done)) = self.plans.try_join_next() {
                self.finish(done);
            }
            if self.start_plans(revision) {
                tokio::task::yield_now().await;
                continue;
            }
            let (due, waits_for) = {
                let queue = self.queue.lock();
                (queue.next_due(), queue.waits_for())
            };
            // Some stores send progress notifications only on request.
            let registry = self.pipeline.registry();
            let lacks = waits_for.filter(|revision| registry.progress() < *revision);
            tokio::select! {
                () = self.queue.added.notified() => {}
                Some(done) = self.plans.join_next() => if let Ok(done) = done { self.finish(done) },
                changed = seen.changed(), if waits_for.is_some() => if changed.is_err() { return },
                _ = registry.wait_for(lacks.unwrap_or(0)), if lacks.is_some() => {}
                () = sleep_until(due), if due.is_some() => {}
            }
        }
    }

    /// Reconciles queued keys; returns whether more are queued.
    fn start_plans(&mut self, seen: u64) -> bool {
        self.queue.lock().wake(Instant::now());
        for _ in 0..RECONCILES_MAX {
            if self.plans.len() >= PLANS_MAX {
                return false;
            }
            let Some(key) = self.queue.lock().take(seen, Instant::now()) else { return false };
            self.reconcile(key, seen);
        }
        true
    }

    fn reconcile(&mut self, key: ObjectName, seen: u64) {
        let plan = {
            let cache = self.cache.snapshot();
            let now = crate::storage::registry::now().seconds();
            let view = View::new(&cache, now, self.refusals.get(&key)).complete_to(seen);
            catch_unwind(AssertUnwindSafe(|| self.controller.reconcile(&view, &key)))
        };
        let Ok(plan) = plan else {
            tracing::error!(controller = self.controller.name, %key, "reconcile panicked");
            self.queue.lock().done(&key, 0, true, Instant::now());
            return;
        };
        if let Some(seconds) = plan.requeue_after {
            let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
            self.queue.lock().add_at(key.clone(), Instant::now() + after);
        }
        if let Some(revision) = plan.needs_revision {
            self.queue.lock().add(key.clone(), revision, Instant::now());
        }
        if plan.is_empty() && plan.events.is_empty() {
            self.refusals.remove(&key);
            self.queue.lock().done(&key, 0, false, Instant::now());
            return;
        }
        // Evictions and what else goes wrong or leaves, in the words of their Events.
        let tells =
            |event: &&EventRecord| event.warning || event.source.name() == TaintEvictionController::NAME;
        for event in plan.events.iter().filter(tells) {
            tracing::info!(controller = self.controller.name, %key, reason = event.reason, "{}", event.message);
        }
        self.execute(key, plan);
    }

    fn execute(&mut self, key: ObjectName, plan: Plan) {
        let (pipeline, events) = (self.pipeline.clone(), self.events.clone());
        let identity = Identity::controller(self.controller.service_account);
        self.plans.spawn(async move {
            let outcome = AssertUnwindSafe(execute(&pipeline, &events, &identity, plan)).catch_unwind().await;
            (key, outcome.ok())
        });
    }

    /// `outcome` is `None` if executing the plan panicked.
    fn finish(&mut self, (key, outcome): (ObjectName, Option<Outcome>)) {
        let controller = self.controller.name;
        let (revision, failed) = match outcome {
            None => {
                tracing::error!(controller, %key, "executing a plan panicked");
                (0, true)
            }
            Some(Outcome { revision, refused: Some(refusal) }) => {
                tracing::debug!(controller, %key, code = refusal.code, message = refusal.message, "write refused");
                self.refusals.insert(key.clone(), refusal);
                (revision, true)
            }
            Some(Outcome { revision, refused: None }) => {
                self.refusals.remove(&key);
                (revision, false)
            }
        };
        self.queue.lock().done(&key, revision, failed, Instant::now());
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}
