//! Deletes Events after their TTL. Upstream uses etcd leases for this.

use std::time::Duration;

use shim_core::controllers::{Plan, event_ttl, served};

use super::events::EventRecorder;
use super::execute::execute;
use crate::pipeline::{Identity, Pipeline};

const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Sweeps until the task is aborted.
pub(super) async fn run(pipeline: Pipeline, events: EventRecorder) {
    let mut interval = tokio::time::interval(SWEEP_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = crate::storage::registry::now().seconds();
        let actions = {
            let cache = pipeline.registry().cache(served("", "events"));
            let view = cache.view();
            event_ttl::sweep(view.iter(None).map(|object| object.header()), now)
        };
        if !actions.is_empty() {
            execute(&pipeline, &events, &Identity::apiserver(), Plan { actions, ..Plan::default() }).await;
        }
    }
}
