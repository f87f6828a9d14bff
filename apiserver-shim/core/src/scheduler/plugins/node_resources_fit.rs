//! Requires sufficient resources besides our other Pods, and a free slot for one more Pod. Scores the free share of
//! CPU and memory (upstream's LeastAllocated).

use crate::scheduler::{
    Amounts, PendingPod, Reason,
    framework::{
        ClusterEvent, EventSet, Filter, MAX_SCORE, NodeView, Plugin, PodContext, QueueingHint, Refusal, Score,
    },
};

/// The `NodeResourcesFit` plugin.
#[derive(Debug)]
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> EventSet {
        EventSet::NODE_ADD | EventSet::NODE_ALLOCATABLE | EventSet::POD_DELETE
    }

    fn queueing_hint(&self, pod: &PendingPod, event: &ClusterEvent<'_>) -> QueueingHint {
        let Some(node) = event.node else { return QueueingHint::Queue };
        let bound = pod.bound_to().is_some();
        let fits = bound || node.allocatable.has_room(&node.requested, None, &pod.pod.shape.charge());
        QueueingHint::queue_if(fits && (bound || node.pods().len() < node.pods_max))
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Filter for NodeResourcesFit {
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal> {
        // Pods bound by clients may have no task yet: their resources are still offered, but belong to them.
        let (info, in_cycle) = (node.info, node.requested_in_cycle());
        if node.other_pods(pod) < info.pods_max
            && (pod.is_bound() || info.allocatable.has_room(node.requested(), in_cycle, pod.charge))
        {
            return Ok(());
        }
        Err(refusal(pod, node)
            .unwrap_or_else(|| Refusal::resolvable(Reason::NoOffer { role: pod.pod.role.clone() })))
    }

    fn concerns_bound_pods(&self) -> bool {
        true
    }
}

impl Score for NodeResourcesFit {
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64 {
        let share =
            node.offered().map_or(0, |offered| free_share(offered, pod.charge, &node.info.allocatable));
        share * (MAX_SCORE / (2 * WHOLE))
    }
}

/// The whole of one resource in the unit of [`free_share`].
const WHOLE: i64 = 10_000;

/// The share of a node's CPU and memory that remains free after `charge`: the sum of both, each in ten thousandths.
pub fn free_share(free: &Amounts, charge: &Amounts, total: &Amounts) -> i64 {
    let share = |free: i64, charge: i64, total: i64| {
        if total <= 0 {
            return 0;
        }
        let left = free - charge;
        match left.checked_mul(WHOLE) {
            Some(product) => product / total,
            None => i64::try_from(i128::from(left) * i128::from(WHOLE) / i128::from(total)).unwrap_or(0),
        }
    };
    share(free.cpu_milli, charge.cpu_milli, total.cpu_milli) + share(free.memory, charge.memory, total.memory)
}

/// Why the node as a whole cannot take the Pod, independent of offers: too small, too many Pods, or resources held by
/// others.
pub fn refusal(pod: &PodContext<'_>, node: &NodeView<'_>) -> Option<Refusal> {
    let info = node.info;
    let mut reasons = Vec::new();
    if node.other_pods(pod) >= info.pods_max && !pod.is_bound() {
        reasons.push(Reason::TooManyPods);
    }
    let mut ours = info.allocatable.clone();
    ours.subtract(node.requested());
    if let Some(in_cycle) = node.requested_in_cycle() {
        ours.subtract(in_cycle);
    }
    if pod.is_bound() {
        // A bound Pod is already counted on the node.
        ours.add(pod.charge);
    }
    let lacking = ours.lacking(pod.charge);
    let mut left = ours.clone();
    left.subtract(&info.held.amounts);
    for resource in left.lacking(pod.charge) {
        reasons.push(if lacking.contains(&resource) {
            Reason::Insufficient(resource.into())
        } else {
            Reason::HeldBy { resource: resource.into(), frameworks: info.held.by.clone() }
        });
    }
    let unresolvable = reasons.iter().all(|reason| matches!(reason, Reason::HeldBy { .. }));
    let mut reasons = reasons.into_iter();
    Some(Refusal { reason: reasons.next()?, more: reasons.collect(), unresolvable })
}
