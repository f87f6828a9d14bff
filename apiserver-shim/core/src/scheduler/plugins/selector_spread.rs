//! Spreads Pods of one controller over nodes. Upstream replaced its plugin of this name by PodTopologySpread with
//! default constraints.

use crate::scheduler::{
    PendingPod,
    framework::{NodeView, Normalization, Plugin, PodContext, PreScore, Score},
};

/// The `SelectorSpread` plugin.
#[derive(Debug)]
pub struct SelectorSpread;

impl Plugin for SelectorSpread {
    fn name(&self) -> &'static str {
        "SelectorSpread"
    }

    fn pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl PreScore for SelectorSpread {
    fn applies(&self, pod: &PendingPod) -> bool {
        pod.owner.is_some()
    }
}

impl Score for SelectorSpread {
    /// The number of the controller's Pods.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        i64::from(node.same_owner_pods(pod))
    }

    fn normalization(&self) -> Option<Normalization> {
        Some(Normalization::HighestReversed)
    }
}
