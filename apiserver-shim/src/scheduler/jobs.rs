//! Background jobs of the driver: writes to the store, and launches that await their outcome. Each job yields events.

use std::future::Future;
use std::sync::Arc;

use futures::future::join_all;
use shim_core::scheduler::machine::{BindWrite, Event, StatusWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::writes;
use crate::pipeline::Pipeline;

/// Bindings per job; enough to fill a group commit.
const BINDINGS_MAX: usize = 128;
/// Statuses per job; they share group commits and one wait for the caches.
const STATUSES_MAX: usize = 64;

/// The jobs in progress.
#[derive(Default)]
pub(super) struct Jobs {
    set: JoinSet<Vec<Event>>,
}

impl Jobs {
    /// Starts a job.
    pub fn start(&mut self, job: impl Future<Output = Vec<Event>> + Send + 'static) {
        self.set.spawn(job);
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Waits for a job to finish.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        self.set.join_next().await.map(flatten)
    }

    /// Returns a finished job's events without waiting.
    pub fn try_next(&mut self) -> Option<Vec<Event>> {
        self.set.try_join_next().map(flatten)
    }

    /// Writes bindings, many in one job.
    pub fn bind(&mut self, pipeline: &Pipeline, bindings: Vec<BindWrite>) {
        for chunk in chunks(bindings, BINDINGS_MAX) {
            let pipeline = pipeline.clone();
            self.start(async move {
                let written = join_all(chunk.iter().map(|write| writes::bind(&pipeline, write))).await;
                seen(&pipeline, written).await
            });
        }
    }

    /// Writes statuses in batches, with as many concurrent writes as there are permits.
    pub fn write_statuses(&mut self, pipeline: &Pipeline, permits: &Arc<Semaphore>, all: Vec<StatusWrite>) {
        for chunk in chunks(all, STATUSES_MAX) {
            let (pipeline, permits) = (pipeline.clone(), permits.clone());
            self.start(async move {
                let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                let _permits =
                    permits.acquire_many_owned(count).await.expect("invariant: nobody closes the semaphore");
                let written = join_all(chunk.iter().map(|write| writes::status(&pipeline, write))).await;
                seen(&pipeline, written).await
            });
        }
    }
}

fn chunks<T>(all: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = all.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Waits until the caches contain the writes, because the next write starts from the cache.
async fn seen(pipeline: &Pipeline, written: Vec<(Event, u64)>) -> Vec<Event> {
    if let Some(newest) = written.iter().map(|(_, revision)| *revision).max() {
        // If the caches do not catch up, the next write conflicts and retries.
        let _ = pipeline.registry().wait_for(newest).await;
    }
    written.into_iter().map(|(event, _)| event).collect()
}

fn flatten(done: Result<Vec<Event>, tokio::task::JoinError>) -> Vec<Event> {
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a job of the scheduler panicked");
        Vec::new()
    })
}
