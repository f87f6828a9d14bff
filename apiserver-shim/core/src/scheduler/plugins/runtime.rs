//! Machines on which nothing can run containers.

use crate::scheduler::{Machine, Reason};

/// Refuses machines without a container runtime.
pub fn filter(machine: &Machine) -> Option<Reason> {
    machine.lacking.clone().map(|lacking| Reason::RuntimeMissing { lacking })
}
