//! Frees Pod CIDRs whose agents never registered. The transaction requires that the range has not been written since
//! it was found unused, so that an agent that requests it meanwhile keeps it, whichever server it asks.

use std::time::Duration;

use kernel_model::time::Time;
use shim_core::controllers::served;
use shim_core::pod_cidrs::UnusedCidrs;
use store::Revision;

use super::{PodCidrError, PodCidrs};
use crate::storage::registry::Registry;

/// Interval of the sweep: a fraction of the time after which a range counts as unused.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Sweeps until the task is aborted.
pub async fn run(cidrs: PodCidrs, registry: Registry) {
    let mut unused = UnusedCidrs::default();
    let mut period = tokio::time::interval(SWEEP_EVERY);
    let start = period.tick().await;
    let mut now = start;
    loop {
        if let Err(error) = sweep(&cidrs, &registry, &mut unused, Time(0) + (now - start)).await {
            tracing::debug!(%error, "unused Pod CIDRs were not looked for");
        }
        // The interval's own clock, so that a test that advances it decides what has been unused for how long.
        now = period.tick().await;
    }
}

/// Runs one sweep.
pub(super) async fn sweep(
    cidrs: &PodCidrs,
    registry: &Registry,
    unused: &mut UnusedCidrs,
    now: Time,
) -> Result<(), PodCidrError> {
    let assigned = cidrs.assigned().await?;
    let assigned = assigned.iter().map(|(node, written)| (&**node, written.0));
    let has_node = |node: &str| registry.peek(served("", "nodes"), "", node).is_some();
    for (node, written) in unused.observe(now, assigned, has_node) {
        if cidrs.release_unused(&node, Revision(written)).await? {
            tracing::info!(node = &*node, "the Pod CIDR of a node that never registered is free again");
        }
    }
    Ok(())
}
