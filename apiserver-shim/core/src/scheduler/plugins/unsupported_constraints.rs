//! Refuses Pods with hard constraints that no plugin implements yet, instead of ignoring the constraint: required
//! inter-pod affinity, and topology spread with `DoNotSchedule`.

use crate::scheduler::{
    PendingPod, Reason,
    framework::{NodeSet, Plugin, PreFilter, Refusal},
};

/// The `UnsupportedConstraints` plugin.
#[derive(Debug)]
pub struct UnsupportedConstraints;

impl Plugin for UnsupportedConstraints {
    fn name(&self) -> &'static str {
        "UnsupportedConstraints"
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }
}

impl PreFilter for UnsupportedConstraints {
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal> {
        match pod.pod.shape.unsupported {
            Some(constraint) if pod.bound_to().is_none() => {
                Err(Refusal::unresolvable(Reason::Unsupported(constraint)))
            }
            _ => Ok(NodeSet::All),
        }
    }
}
