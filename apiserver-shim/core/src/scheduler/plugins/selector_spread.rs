//! Pods of one controller are spread over the nodes. Upstream had a plugin of this name; since then PodTopologySpread does
//! the same with default constraints.

use crate::scheduler::{
    PendingPod,
    framework::{MAX_SCORE, NodeView, Plugin, PodContext, PreScore, Score},
};

/// The plugin.
#[derive(Debug)]
pub struct SelectorSpread;

/// The most Pods of one controller that are told apart on one node; a node runs 110 Pods.
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
    /// The number of Pods of the controller, negative.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        -i64::from(node.same_owner_pods(pod))
    }

    fn normalize(&self, score: i64) -> i64 {
        MAX_SCORE + score.max(-PODS_MAX) * (MAX_SCORE / PODS_MAX)
    }
}
