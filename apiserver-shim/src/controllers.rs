//! Runs the controllers: watches feed [`world::World`], a change asks for looks, a look becomes a plan (`shim-core`), a
//! plan is carried out. One task owns all of it; only the writes of plans run beside it.
//!
//! What a look sees is never older than what the last plan for the same key wrote: a key that wrote revision `r` waits
//! until the caches have seen `r`. So there are no expectations to keep, and nothing is created twice.

mod events;
mod execute;
mod look;
mod queue;
mod triggers;
mod world;

pub use events::EventRecorder;
pub(crate) use events::event_to_store;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shim_core::controllers::{Plan, event_ttl, served};
use shim_core::rows::{Key, Seconds};
use shim_model::resource::{GroupResource, Verb};
use tokio::task::JoinSet;

use crate::pipeline::Pipeline;
use crate::storage::pod_views::PodViews;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{ChangeKind, Delivery, WatchEnd, WatchFrom, Watcher};
use execute::{Outcome, Refused, execute};
use queue::WorkQueue;
use world::{ObjectName, World};

/// Plans carried out at once.
const JOBS_MAX: usize = 64;
/// Looks between two drains of the watchers, so that a long queue does not make the rows old.
const LOOKS_MAX: usize = 256;
/// Changes read from one watcher at once.
const DELIVERIES_MAX: usize = 1024;
/// How often every key is looked at although nothing changed: against what a bug or a lost signal left behind.
const RESYNC_EVERY: Duration = Duration::from_secs(600);
/// How often old Events are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The controllers, each with a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Deployments,
    ReplicaSets,
    Namespaces,
    /// `default` ServiceAccount and root certificate of a namespace.
    NamespaceDefaults,
    Endpoints,
    Nodes,
    /// Pods on nodes that do not answer, or are gone.
    PodsOnNodes,
    GarbageCollector,
}

const CONTROLLERS: [Controller; 8] = [
    Controller::Deployments,
    Controller::ReplicaSets,
    Controller::Namespaces,
    Controller::NamespaceDefaults,
    Controller::Endpoints,
    Controller::Nodes,
    Controller::PodsOnNodes,
    Controller::GarbageCollector,
];

/// What the controllers need.
pub struct ControllerOptions {
    /// The objects, and the way in for new ones.
    pub pipeline: Pipeline,
    /// Shared rows of Pods.
    pub pod_views: PodViews,
    /// The certificate that `kube-root-ca.crt` shows.
    pub ca_pem: String,
    /// Where to tell people.
    pub events: EventRecorder,
}

type Job = (Controller, ObjectName, Outcome);

/// The one task.
pub(crate) struct Runner {
    pub(crate) registry: Registry,
    pipeline: Pipeline,
    pub(crate) ca_pem: String,
    events: EventRecorder,
    pub(crate) world: World,
    watchers: Vec<(GroupResource, Watcher)>,
    queues: Vec<WorkQueue<ObjectName>>,
    jobs: JoinSet<Job>,
    /// Refusals that the next look is told of.
    pub(crate) refusals: BTreeMap<(Controller, ObjectName), Refused>,
    /// When a node that Pods are bound to was first missed.
    pub(crate) missing_nodes: BTreeMap<Box<str>, Seconds>,
}

/// Runs the controllers until the task is aborted.
pub async fn run(options: ControllerOptions) {
    let mut runner = Runner {
        registry: options.pipeline.registry().clone(),
        pipeline: options.pipeline,
        ca_pem: options.ca_pem,
        events: options.events,
        world: World::new(options.pod_views),
        watchers: Vec::new(),
        queues: CONTROLLERS.iter().map(|_| WorkQueue::default()).collect(),
        jobs: JoinSet::new(),
        refusals: BTreeMap::new(),
        missing_nodes: BTreeMap::new(),
    };
    runner.start_watching();
    runner.run().await;
}

impl Runner {
    /// Watches every resource of the catalog that is not watched yet.
    fn start_watching(&mut self) {
        let catalog = self.registry.catalog();
        for resource in catalog.iter().filter(|r| r.allows(Verb::Watch) && r.is_stored_version()) {
            // No controller reads Events, and they own nothing.
            let is_watched =
                |(name, _): &(GroupResource, Watcher)| resource.is(name.group(), name.resource());
            if resource.plural == "events" || self.watchers.iter().any(is_watched) {
                continue;
            }
            if let Ok(watcher) = self.registry.watch(resource, WatchFrom::Start, Selection::everything()) {
                self.watchers.push((resource.group_resource(), watcher));
            }
        }
    }

    async fn run(&mut self) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut resync = tokio::time::interval(RESYNC_EVERY);
        let mut generations = self.registry.generations();
        resync.reset();
        loop {
            // Read before the watchers: what they deliver now is at least that new.
            let seen = self.registry.progress();
            self.drain();
            self.wake();
            if self.start_jobs(seen) {
                // More is ready than one round looks at.
                self.finish_jobs();
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.queues.iter().filter_map(WorkQueue::next_due).min();
            let waits_for = self.queues.iter().filter_map(|q| q.waits_for(seen)).min();
            let registry = self.registry.clone();
            tokio::select! {
                () = any_changed(&mut self.watchers) => {}
                Some(job) = self.jobs.join_next() => self.finish(job),
                _ = registry.wait_for(waits_for.unwrap_or(0)), if waits_for.is_some() => {}
                () = sleep_until(due), if due.is_some() => {}
                _ = sweep.tick() => self.sweep(),
                _ = resync.tick() => self.resync(),
                Ok(()) = generations.changed() => self.start_watching(),
            }
            self.finish_jobs();
        }
    }

    fn drain(&mut self) {
        let mut watchers = std::mem::take(&mut self.watchers);
        let mut closed = Vec::new();
        for (resource, watcher) in &mut watchers {
            loop {
                match watcher.poll(DELIVERIES_MAX) {
                    Ok(batch) if batch.deliveries.is_empty() => break,
                    Ok(batch) => batch.deliveries.iter().for_each(|d| self.take(resource, d)),
                    Err(WatchEnd::Closed) => {
                        closed.push(resource.clone());
                        break;
                    }
                    Err(WatchEnd::Lagged { .. }) => {
                        // The window passed us by: everything is delivered anew. What went meanwhile is found gone when
                        // it is looked at, and the rows of it are dropped here.
                        self.forget_gone(resource);
                        match self.registry.watch(&*resource, WatchFrom::Start, Selection::everything()) {
                            Ok(fresh) => *watcher = fresh,
                            Err(_) => break,
                        }
                    }
                }
            }
        }
        watchers.retain(|(resource, _)| !closed.contains(resource));
        self.watchers = watchers;
    }

    fn take(&mut self, resource: &GroupResource, delivery: &Delivery) {
        let object = &delivery.object;
        let before = delivery.change.as_ref().and_then(|c| c.previous.clone());
        if delivery.kind == ChangeKind::Deleted {
            self.world.remove(resource, object);
        } else {
            self.world.put(resource, object, before.as_deref());
        }
        self.trigger(resource, delivery.kind, object, before.as_deref(), delivery.revision);
    }

    fn forget_gone(&mut self, resource: &GroupResource) {
        if resource.parts() != ("", "pods") {
            return;
        }
        let pods = self.registry.builtin(resource);
        let cache = pods.cache();
        let gone: Vec<_> = self
            .world
            .pods
            .iter()
            .filter(|(key, _)| cache.get(&key.namespace, &key.name).is_none())
            .map(|(_, pod)| pod.clone())
            .collect();
        for pod in gone {
            if let Some(object) =
                crate::storage::object::Object::new(pod.object.clone(), pods.definition(), pod.revision)
            {
                self.world.remove(resource, &object);
            }
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        self.queues.iter_mut().for_each(|q| q.wake(now));
    }

    /// Looks at what is ready, one of each controller in turn; says whether there is more.
    fn start_jobs(&mut self, seen: u64) -> bool {
        for round in 0..LOOKS_MAX {
            let mut idle = true;
            for controller in CONTROLLERS {
                if self.jobs.len() >= JOBS_MAX {
                    return false;
                }
                if let Some(name) = self.queues[controller as usize].take(seen) {
                    idle = false;
                    self.look_and_start(controller, name);
                }
            }
            if idle {
                return false;
            }
            if round + 1 == LOOKS_MAX {
                return true;
            }
        }
        false
    }

    fn look_and_start(&mut self, controller: Controller, name: ObjectName) {
        let plan = self.look(controller, &name);
        if let Some(seconds) = plan.requeue_after {
            let at = Instant::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
            self.queues[controller as usize].add_at(name.clone(), at);
        }
        if plan.is_empty() {
            self.refusals.remove(&(controller, name.clone()));
            self.queues[controller as usize].done(&name, 0, false, Instant::now());
            return;
        }
        let (pipeline, events) = (self.pipeline.clone(), self.events.clone());
        self.jobs.spawn(async move {
            let outcome = execute(&pipeline, &events, plan).await;
            (controller, name, outcome)
        });
    }

    fn finish_jobs(&mut self) {
        while let Some(job) = self.jobs.try_join_next() {
            self.finish(job);
        }
    }

    fn finish(&mut self, job: Result<Job, tokio::task::JoinError>) {
        let (controller, name, outcome) = match job {
            Ok(job) => job,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a controller's writes panicked");
                }
                return;
            }
        };
        let failed = outcome.refused.is_some();
        let key = (controller, name.clone());
        match outcome.refused {
            Some(refused) => {
                tracing::debug!(?controller, key = %name.key, status = %refused.status, "write refused");
                self.refusals.insert(key, refused);
            }
            None => {
                self.refusals.remove(&key);
            }
        }
        self.queues[controller as usize].done(&name, outcome.revision, failed, Instant::now());
    }

    fn sweep(&mut self) {
        let cache = self.registry.cache(served("", "events"));
        let now = crate::storage::registry::now().seconds();
        let actions = {
            let view = cache.view();
            event_ttl::sweep(view.iter(None).map(|o| o.header()), now)
        };
        let seen = self.registry.progress();
        self.queues.iter_mut().for_each(|q| q.trim(seen));
        if actions.is_empty() {
            return;
        }
        let (pipeline, events) = (self.pipeline.clone(), self.events.clone());
        tokio::spawn(async move {
            let plan = Plan { actions, ..Plan::default() };
            execute(&pipeline, &events, plan).await;
        });
    }

    pub(crate) fn ask(&mut self, controller: Controller, resource: GroupResource, key: Key, needs: u64) {
        let name = ObjectName { resource, key };
        self.queues[controller as usize].add(name, needs);
    }
}

async fn any_changed(watchers: &mut [(GroupResource, Watcher)]) {
    if watchers.is_empty() {
        return std::future::pending().await;
    }
    let changes = watchers.iter_mut().map(|(_, watcher)| Box::pin(watcher.changed()));
    futures::future::select_all(changes).await;
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests;
