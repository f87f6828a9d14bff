//! Refuses Pods whose PersistentVolumeClaims are not bound, and nodes that do not reach the volumes of those that are. The binder
//! (`controllers::volume_binder`) binds claims, those that wait for a Pod included.

use crate::scheduler::{
    PendingPod, ProvisionedClaim, Reason,
    framework::{
        ClusterEvent, EventSet, Filter, NodeSet, NodeView, Plugin, PodContext, PreFilter, QueueingHint,
        Refusal,
    },
};

/// The plugin's name.
const NAME: &str = "VolumeBinding";
/// A volume of a bound claim is not reachable from the node.
const OTHER_NODES: &str = "node(s) didn't match PersistentVolume's node affinity";
/// No volume for a claim that waits for its Pod.
const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
/// The volume of a bound claim does not exist.
const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The `VolumeBinding` plugin.
#[derive(Debug)]
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn events(&self) -> EventSet {
        EventSet::VOLUMES | EventSet::NODE_ADD | EventSet::NODE_LABELS
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let claims = &pod.pod.shape.volume_claims;
        QueueingHint::queue_if(event.claim.is_none_or(|name| claims.iter().any(|claim| *claim.name == *name)))
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl PreFilter for VolumeBinding {
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal> {
        match pod.volumes.as_ref().and_then(|volumes| volumes.refusal.as_ref()) {
            Some(refusal) if pod.bound_to().is_none() => {
                Err(Refusal::unresolvable(Reason::Claim(refusal.clone())))
            }
            _ => Ok(NodeSet::All),
        }
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        let Some(volumes) = &pod.pod.volumes else { return Ok(()) };
        let reached = |nodes: &crate::scheduler::NodeAffinity| nodes.matches(node.info.node.header());
        let made = |claim: &ProvisionedClaim| claim.topologies.allow(&node.info.node.header().labels);
        let reasons = [
            (OTHER_NODES, !volumes.affinities.iter().all(reached)),
            (NOTHING_TO_BIND, volumes.delayed || !volumes.provisioned.iter().all(made)),
            (NO_VOLUME, volumes.missing),
        ];
        let texts = reasons.into_iter().filter(|(_, applies)| *applies).map(|(text, _)| text);
        let mut reasons = texts.map(|text| Reason::Plugin { plugin: NAME, text });
        let Some(first) = reasons.next() else { return Ok(()) };
        Err(Refusal { more: reasons.collect(), ..Refusal::unresolvable(first) })
    }
}
