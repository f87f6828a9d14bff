//! Refuses Pods whose ResourceClaims do not exist. No claims are served yet, so every Pod that has one waits.

use crate::scheduler::{
    PendingPod, Reason,
    framework::{NodeSet, Plugin, PreFilter, Refusal},
};

/// The `DynamicResources` plugin.
#[derive(Debug)]
pub struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal> {
        match &pod.pod.shape.device_claim {
            Some(claim) if pod.bound_to().is_none() => {
                Err(Refusal::unresolvable(Reason::NoDevice(claim.clone())))
            }
            _ => Ok(NodeSet::All),
        }
    }
}
