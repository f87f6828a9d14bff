//! Refuses Pods whose PersistentVolumeClaims do not exist. No claims are served yet, so every Pod that has one waits.

use crate::scheduler::{
    MissingClaim, PendingPod, Reason,
    framework::{NodeSet, Plugin, PreFilter, Refusal},
};

/// The `VolumeBinding` plugin.
#[derive(Debug)]
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal> {
        match &pod.pod.shape.claim {
            Some(claim @ (MissingClaim::Volume(_) | MissingClaim::EphemeralVolume(_)))
                if pod.bound_to().is_none() =>
            {
                Err(Refusal::unresolvable(Reason::NoClaim(claim.clone())))
            }
            _ => Ok(NodeSet::All),
        }
    }
}
