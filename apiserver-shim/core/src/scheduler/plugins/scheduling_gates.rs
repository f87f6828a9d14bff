//! Keeps a Pod out of the queue until its `spec.schedulingGates` are removed.

use crate::{
    rows::Pod,
    scheduler::{
        Reason,
        framework::{Plugin, PreEnqueue},
    },
};

/// The `SchedulingGates` plugin.
#[derive(Debug)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        Some(self)
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Reason> {
        if pod.gated { Err(Reason::Gated) } else { Ok(()) }
    }
}
