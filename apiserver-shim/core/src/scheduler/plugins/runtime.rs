//! Machines on which nothing can run containers.

use crate::scheduler::{Machine, Reason};

/// Refuses machines without a container runtime.
pub fn filter(machine: &Machine) -> Option<Reason> {
    machine.runtime_missing.then_some(Reason::RuntimeMissing)
}
