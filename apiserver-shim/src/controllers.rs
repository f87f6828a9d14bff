//! Runs the controllers of `shim-core`. The informers, one task, update [`cache::SharedCache`] from the watch caches
//! and enqueue the keys that each change affects. Every controller has a worker with its own task and queue, so that
//! a slow controller delays no other. A worker reconciles a key, which yields a plan, and executes the plan.
//!
//! A reconcile always sees the writes of the previous plan for its key: after a plan that wrote revision `r`, the key
//! waits until the cache contains everything up to `r`. So controllers need no expectations, and nothing is created
//! twice.

mod cache;
mod events;
mod execute;
mod informers;
mod queue;
mod sweep;
mod worker;

pub use events::EventRecorder;
pub(crate) use events::event_to_store;
pub(crate) use execute::execute;
pub use queue::{Durations, QueueStats, workqueue_collector};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use shim_core::controllers::{ControllerCache, Registration};
use tokio::task::JoinSet;

use crate::pipeline::Pipeline;
use crate::storage::pod_views::PodViews;
use cache::SharedCache;
use informers::Informers;
use worker::{Queue, Worker};

/// Options of the controllers.
pub struct ControllerOptions {
    /// Reads and writes objects.
    pub pipeline: Pipeline,
    /// Typed views of Pods, shared with the scheduler.
    pub pod_views: PodViews,
    /// The controllers to run: [`shim_core::controllers::all`], and further ones in tests.
    pub controllers: Vec<Registration>,
    /// Records their Events.
    pub events: EventRecorder,
}

/// The controllers, ready to run.
pub struct Controllers {
    options: ControllerOptions,
    queues: Vec<Arc<Queue>>,
}

/// Statistics of the controllers' work queues. Clones share.
#[derive(Clone)]
pub struct QueueMetrics {
    queues: Arc<[(&'static str, Arc<Queue>)]>,
}

impl QueueMetrics {
    /// The statistics of each queue with the name of its controller.
    pub fn stats(&self) -> Vec<(&'static str, QueueStats)> {
        let now = Instant::now();
        self.queues.iter().map(|(name, queue)| (*name, queue.lock().stats(now))).collect()
    }
}

impl std::fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.queues.iter().map(|(name, _)| name)).finish()
    }
}

impl Controllers {
    /// Controllers with empty queues.
    pub fn new(options: ControllerOptions) -> Controllers {
        let queues = options.controllers.iter().map(|_| Arc::new(Queue::default())).collect();
        Controllers { options, queues }
    }

    /// Access to the queues' statistics.
    pub fn metrics(&self) -> QueueMetrics {
        let names = self.options.controllers.iter().map(|controller| controller.name);
        QueueMetrics { queues: names.zip(self.queues.iter().cloned()).collect() }
    }

    /// Runs until the task is aborted. Returns only if one of the tasks has failed, and says which one.
    pub async fn run(self) -> String {
        let ControllerOptions { pipeline, pod_views, controllers, events } = self.options;
        let registry = pipeline.registry().clone();
        let now = crate::storage::registry::now().seconds();
        let cache = ControllerCache::new(controllers.iter().flat_map(|c| &c.inputs)).started_at(now);
        let cache = SharedCache::new(cache);
        let controllers: Vec<Arc<Registration>> = controllers.into_iter().map(Arc::new).collect();
        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        let informers = Informers::new(
            registry.clone(),
            pod_views,
            cache.clone(),
            controllers.iter().cloned().zip(self.queues.iter().cloned()).collect(),
        );
        names.insert(tasks.spawn(informers.run()).id(), "informers");
        names.insert(tasks.spawn(sweep::run(pipeline.clone(), events.clone())).id(), "event sweep");
        for (controller, queue) in controllers.into_iter().zip(self.queues) {
            let name = controller.name;
            let worker = Worker::new(controller, queue, cache.clone(), pipeline.clone(), events.clone());
            names.insert(tasks.spawn(worker.run()).id(), name);
        }
        match tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => format!("the controllers ended: {} returned", names[&id]),
            Some(Err(error)) => format!("the controllers ended: {} failed: {error}", names[&error.id()]),
            None => "the controllers ended".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
