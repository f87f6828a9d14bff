//! Spreads Pods of one controller over nodes. Upstream replaced its plugin of this name by PodTopologySpread with
//! default constraints.

use crate::scheduler::{
    PendingPod,
    framework::{MAX_SCORE, NodeView, Plugin, PodContext, PreScore, Score},
};

/// The `SelectorSpread` plugin.
#[derive(Debug)]
pub struct SelectorSpread;

/// Counts above this are treated alike; a node runs at most 110 Pods.
const PODS_MAX: i64 = 1000;

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
    /// The negated number of the controller's Pods.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        -i64::from(node.same_owner_pods(pod))
    }

    fn normalize(&self, score: i64) -> i64 {
        MAX_SCORE + score.max(-PODS_MAX) * (MAX_SCORE / PODS_MAX)
    }
}
