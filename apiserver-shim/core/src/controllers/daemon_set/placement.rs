//! Creates the Pods that are missing, and deletes those that are surplus, have ended or are misplaced.

use serde_json::{Value, json};
use shim_model::access;

use super::{
    GENERATION_LABEL, Moves, PodsOnNodes, Snapshot, eligibility, event, owned_pods, rollout::max_surge,
};
use crate::{
    controllers::{Plan, revisions::REVISION_LABEL},
    rows::{DaemonSet, Node, Phase, Pod, Seconds, controller_reference},
};

/// The longest delay between two deletions of failed Pods on a node, in seconds, as upstream.
const BACKOFF_MAX: i64 = 15 * 60;

/// What the nodes lack and have too much.
pub fn place<'a>(
    snapshot: &Snapshot<'a>,
    on_nodes: &PodsOnNodes<'a>,
    hash: &str,
    plan: &mut Plan,
) -> Moves<'a> {
    let mut moves = Moves::default();
    for &node in &snapshot.nodes {
        place_on(snapshot, node, on_nodes.get(node.name()), hash, &mut moves, plan);
    }
    // A Pod made for a node that is gone is never bound, and so not collected as one of a lost node.
    let exists = |name: &str| snapshot.node(name).is_some();
    for (_, pods) in on_nodes.iter().filter(|(node, _)| !exists(node)) {
        moves.delete.extend(pods.iter().filter(|pod| pod.node.is_none() && pod.deletion.is_none()));
    }
    moves
}

fn place_on<'a>(
    snapshot: &Snapshot<'a>,
    node: &'a Node,
    pods: Option<&Vec<&'a Pod>>,
    hash: &str,
    moves: &mut Moves<'a>,
    plan: &mut Plan,
) {
    let set = snapshot.set;
    let fit = eligibility::of(set, node);
    let Some(pods) = pods else {
        if fit.should_run {
            moves.create_on.push(node.name());
        }
        return;
    };
    let present = pods.iter().copied().filter(|pod| pod.deletion.is_none());
    if !fit.should_stay {
        moves.delete.extend(present);
        return;
    }
    let (ended, running): (Vec<&Pod>, Vec<&Pod>) = present.partition(|pod| pod.phase.is_terminal());
    for pod in ended {
        remove_ended(snapshot, node, pod, moves, plan);
    }
    if max_surge(set, 1) == 0 {
        // The oldest Pod stays.
        moves.delete.extend(running.into_iter().skip(1));
    } else if running.is_empty() {
        if fit.should_run {
            moves.create_on.push(node.name());
        }
    } else {
        keep_two(set, &running, hash, snapshot.now, moves);
    }
}

/// Deletes a Pod that has ended. One that failed waits for its back-off, because a node that refuses the Pod would refuse
/// the next one too.
fn remove_ended<'a>(
    snapshot: &Snapshot<'a>,
    node: &Node,
    pod: &'a Pod,
    moves: &mut Moves<'a>,
    plan: &mut Plan,
) {
    let set = snapshot.set;
    let place =
        format!("daemon pod {}/{} on node {}", set.header().namespace, pod.header().name, node.name());
    if pod.phase == Phase::Failed {
        let hash = pod.header().labels.get(REVISION_LABEL).map_or("", String::as_str);
        if let Some((removed, last)) = (snapshot.removed_failures)(node.name(), hash) {
            let delay = BACKOFF_MAX.min(1 << removed.saturating_sub(1).min(20));
            let left = last + delay - snapshot.now;
            if left > 0 {
                plan.requeue_after(left);
                return;
            }
        }
        let message = format!("Found failed {place}, will try to kill it");
        plan.events.push(event(set, true, "FailedDaemonPod", message));
    } else {
        let message = format!("Found succeeded {place}, will try to delete it");
        plan.events.push(event(set, false, "SucceededDaemonPod", message));
    }
    moves.delete.push(pod);
}

/// During an update with surge a node has the oldest Pod of the old templates and the oldest of the present one, until the
/// new one is available or the old one is no longer ready.
fn keep_two<'a>(set: &DaemonSet, running: &[&'a Pod], hash: &str, now: Seconds, moves: &mut Moves<'a>) {
    if running.len() <= 1 {
        return;
    }
    let is_new = |pod: &&Pod| pod.header().labels.get(REVISION_LABEL).is_some_and(|label| label == hash);
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = running.iter().copied().partition(is_new);
    moves.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).copied());
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.is_ready() || new.is_available(set.min_ready_seconds, now))
    {
        moves.delete.push(old);
    }
}

/// The Pod for a node.
pub fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Value {
    let reference = controller_reference("apps/v1", "DaemonSet", set.header());
    let mut pod = owned_pods::from_template_with_generated_name(set.header(), reference, &set.template);
    pod["spec"] = set.pod_spec.clone();
    let labels = access::object_mut(&mut pod, &["metadata", "labels"]);
    if let Some(generation) = set.template_generation {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string().into());
    }
    labels.insert(REVISION_LABEL.to_owned(), hash.into());
    let affinity = ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    // Replaces the template's requirements: they hold for this node, and terms are alternatives.
    access::object_mut(&mut pod, &affinity).insert(
        "nodeSelectorTerms".to_owned(),
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]),
    );
    pod
}
