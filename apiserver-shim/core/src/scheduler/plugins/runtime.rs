//! NodeInfos on which nothing can run containers.

use crate::scheduler::{NodeInfo, Reason};

/// Refuses machines without a container runtime.
pub fn filter(machine: &NodeInfo) -> Option<Reason> {
    machine.lacking.clone().map(|lacking| Reason::RuntimeMissing { lacking })
}
