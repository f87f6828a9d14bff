//! Refuses nodes with taints that the Pod does not tolerate; `PreferNoSchedule` taints lower the score.

use crate::{
    rows::{Taint, TaintEffect},
    scheduler::{
        PendingPod, PodShape, Reason,
        framework::{
            ClusterEvent, EventSet, Filter, NodeView, Normalization, Plugin, PodContext, QueueingHint,
            Refusal, Score,
        },
    },
};

/// The `TaintToleration` plugin.
#[derive(Debug)]
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_TAINTS
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let tolerated =
            event.node.is_none_or(|node| untolerated(&pod.pod.shape, &node.node.taints).is_none());
        QueueingHint::queue_if(tolerated)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Filter for TaintToleration {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        match untolerated(pod.shape(), &node.info.node.taints) {
            Some(taint) => {
                let reason = Reason::Taint { key: taint.key.clone(), value: taint.value.clone() };
                Err(Refusal::unresolvable(reason))
            }
            None => Ok(()),
        }
    }
}

impl Score for TaintToleration {
    /// The number of untolerated `PreferNoSchedule` taints.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        let taints = node.info.node.taints.iter();
        let soft = taints.filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
        soft.filter(|taint| !tolerates(pod.shape(), taint)).count() as i64
    }

    fn normalization(&self) -> Option<Normalization> {
        Some(Normalization::HighestReversed)
    }
}

fn tolerates(shape: &PodShape, taint: &Taint) -> bool {
    shape.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

/// The first untolerated taint that forbids scheduling.
fn untolerated<'a>(shape: &PodShape, taints: &'a [Taint]) -> Option<&'a Taint> {
    let hard = taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
    hard.into_iter().find(|taint| !tolerates(shape, taint))
}
