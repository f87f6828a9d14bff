//! The DaemonSet controller: one Pod on every node that fits.
//!
//! Reading order: this file (`plan` lists the steps); `eligibility` says where Pods belong; `history` finds or creates the
//! revision of the template; `placement` creates missing Pods and deletes surplus ones; `rollout` replaces Pods of old
//! templates; `status` counts. Pods are placed by the scheduler: each has a node affinity for one node.

mod eligibility;
mod history;
mod placement;
mod rollout;
mod status;

use std::collections::BTreeMap;

use super::{
    Action, Controller, CreationEvents, CreationText, EventRecord, EventSource, Input, Keys, ObjectChange,
    ObjectName, Plan, Target, View,
    owned_pods::{self, keys_of_owner},
    revisions::{REVISION_LABEL, Revisions},
    served,
};
use crate::rows::{ControllerRevision, DaemonSet, Node, Pod, Seconds};
use crate::scheduler::Test;

/// The source of its Events.
pub const COMPONENT: &str = "daemonset-controller";

/// Maximum number of Pods that one plan creates or deletes, as upstream's burst. The next reconcile continues.
const BURST_MAX: usize = 250;
/// The label of a Pod that has the generation of the template.
const GENERATION_LABEL: &str = "pod-template-generation";

/// Runs DaemonSets.
pub struct DaemonSetController;

impl Controller for DaemonSetController {
    const NAME: &'static str = "daemonset-controller";
    const SERVICE_ACCOUNT: &'static str = "daemon-set-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::views::<DaemonSet>(),
            Input::views::<ControllerRevision>(),
            Input::views::<Pod>(),
            Input::views::<Node>(),
        ]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "daemonsets" => {
                keys.insert(change.name());
            }
            "nodes" => keys_of_node(change, view, keys),
            // As upstream's: a revision that has its controller from the start is no reason to look at the set again, or a copy
            // that a client makes would be removed at once.
            "controllerrevisions" if is_new_and_controlled(change) => {}
            _ => change.headers().for_each(|object| {
                keys_of_owner::<DaemonSet>(object, "DaemonSet", view, keys);
            }),
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(set) = view.get::<DaemonSet>(&key.key) else { return Plan::default() };
        let header = set.header();
        if header.deletion_timestamp.is_some() || set.selector.is_empty() {
            // The garbage collector deletes what it owns. Validation refuses an empty selector, which would claim every Pod.
            return Plan::default();
        }
        let backoff = |node: &str, hash: &str| view.failed_pods(&header.uid, node, hash);
        plan(&Snapshot {
            set,
            nodes: view.all::<Node>().collect(),
            pods: owned_pods::related(view, header, &set.selector),
            revisions: Revisions::of(view, header, &set.selector),
            removed_failures: &backoff,
            now: view.now,
        })
    }
}

fn is_new_and_controlled(change: &ObjectChange) -> bool {
    let header = change.header();
    change.previous.is_none()
        && !change.is_deletion()
        && header.deletion_timestamp.is_none()
        && header.controller().is_some()
}

/// The DaemonSets that a change of a node concerns: those whose Pods must start or end there, and those that count the node or
/// its Pod differently.
fn keys_of_node(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    let node = change.object.view::<Node>();
    let before = change.previous.as_ref().and_then(|previous| previous.view::<Node>());
    if let (false, Some(node), Some(before)) = (change.is_deletion(), node, before)
        && node.header().labels == before.header().labels
        && node.taints == before.taints
    {
        return;
    }
    let name = &change.header().name;
    let was = |set: &DaemonSet| before.map(|before| eligibility::of(set, before));
    let owners: Vec<&str> = view.on_node::<Pod>(name).filter_map(Pod::controller_uid).collect();
    for set in view.all::<DaemonSet>() {
        let fit = node.filter(|_| !change.is_deletion()).map(|node| eligibility::of(set, node));
        let has_pod = owners.iter().any(|uid| *uid == set.header().uid);
        let concerned = match fit {
            None => true,
            Some(fit) => {
                let misplaced =
                    shim_model::access::int(&set.status, &["numberMisscheduled"]).unwrap_or(0) > 0;
                let counts_differently = was(set).map_or(fit.should_run, |was| was != fit);
                counts_differently
                    || (fit.should_run && !has_pod)
                    || (has_pod && (!fit.should_stay || misplaced))
            }
        };
        if concerned {
            keys.insert(ObjectName::of(served("apps", "daemonsets"), set.header()));
        }
    }
}

/// How many failed Pods of a revision have been removed from a node, and when the last one was.
type RemovedFailures<'f> = &'f dyn Fn(&str, &str) -> Option<(u32, Seconds)>;

/// What one reconcile of a DaemonSet reads.
struct Snapshot<'a> {
    set: &'a DaemonSet,
    /// Every node, by name.
    nodes: Vec<&'a Node>,
    /// Every Pod that the set controls, or that it selects and that has no controller.
    pods: Vec<&'a Pod>,
    revisions: Revisions<'a>,
    removed_failures: RemovedFailures<'a>,
    now: Seconds,
}

impl<'a> Snapshot<'a> {
    fn node(&self, name: &str) -> Option<&'a Node> {
        let at = self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()?;
        Some(self.nodes[at])
    }
}

/// The Pods of the set on one node, existing or not.
type PodsOnNodes<'a> = BTreeMap<&'a str, Vec<&'a Pod>>;

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let set = snapshot.set;
    let mut plan = Plan::default();
    let mut status = if set.status.is_object() { set.status.clone() } else { serde_json::json!({}) };
    let matches = |pod: &Pod| set.selector.matches(&pod.header().labels);
    let (pods, claims) = owned_pods::claim(set.header(), "DaemonSet", &snapshot.pods, matches);
    let history = history::find(snapshot, &pods, &mut status, &mut plan);
    plan.actions.extend(claims);
    let on_nodes = by_node(&pods);
    let mut moves = placement::place(snapshot, &on_nodes, &history.hash, &mut plan);
    if moves.is_empty() {
        moves = rollout::replace(snapshot, &on_nodes, &history.hash);
    }
    status::count(snapshot, &on_nodes, &history.hash, &mut status);
    let mut soonest = owned_pods::soonest_available(&pods, set.min_ready_seconds, snapshot.now);
    if set.min_ready_seconds == 0 {
        soonest = None;
    }
    if let Some(soonest) = soonest {
        plan.requeue_after(soonest);
    }
    // The status comes before the Pods: a plan ends at the first refusal.
    if status != set.status {
        plan.actions.push(Action::Change {
            target: target(set),
            subresource: Some("status"),
            changes: vec![super::Change::Put(&["status"], status)],
        });
    }
    carry_out(set, moves, &history.hash, &mut plan);
    plan.actions.extend(history::clean_up(set, &history, &pods));
    plan
}

/// Pods by the node that they are bound to or made for. A Pod that has ended and is being deleted is left alone.
fn by_node<'a>(pods: &[&'a Pod]) -> PodsOnNodes<'a> {
    let mut on_nodes = PodsOnNodes::new();
    for &pod in pods {
        if pod.phase.is_terminal() && pod.deletion.is_some() {
            continue;
        }
        if let Some(node) = target_node(pod) {
            on_nodes.entry(node).or_default().push(pod);
        }
    }
    for pods in on_nodes.values_mut() {
        // Bound Pods first, then the oldest.
        pods.sort_by(|a, b| {
            let key = |pod: &Pod| (pod.node.is_none(), pod.created);
            (key(a), &a.header().name).cmp(&(key(b), &b.header().name))
        });
    }
    on_nodes
}

/// The node of a daemon Pod: where it is bound, or the one that its affinity names.
fn target_node(pod: &Pod) -> Option<&str> {
    if let Some(node) = pod.node.as_deref() {
        return Some(node);
    }
    let mut fields = pod.shape.affinity.as_ref()?.terms.iter().flat_map(|term| &term.fields);
    fields.find_map(|field| match &field.test {
        Test::In(names) if &*field.key == "metadata.name" && names.len() == 1 => Some(&*names[0]),
        _ => None,
    })
}

/// Whether a Pod was made of the present template.
fn is_updated(set: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let label = |name: &str| pod.header().labels.get(name).map(String::as_str);
    let generation = set.template_generation.map(|generation| generation.to_string());
    label(REVISION_LABEL) == Some(hash)
        || (generation.is_some() && label(GENERATION_LABEL) == generation.as_deref())
}

/// Pods to delete, and the nodes on which Pods are missing.
#[derive(Default)]
struct Moves<'a> {
    create_on: Vec<&'a str>,
    delete: Vec<&'a Pod>,
}

impl Moves<'_> {
    fn is_empty(&self) -> bool {
        self.create_on.is_empty() && self.delete.is_empty()
    }
}

fn carry_out(set: &DaemonSet, moves: Moves<'_>, hash: &str, plan: &mut Plan) {
    plan.creation_events =
        Some(CreationEvents { about: target(set), component: COMPONENT, text: CreationText::Pods });
    for node in moves.create_on.into_iter().take(BURST_MAX) {
        plan.actions.push(owned_pods::create(set.header(), placement::new_pod(set, node, hash)));
    }
    for pod in moves.delete.into_iter().take(BURST_MAX) {
        plan.events.push(event(
            set,
            false,
            "SuccessfulDelete",
            format!("Deleted pod: {}", pod.header().name),
        ));
        plan.actions.push(owned_pods::delete(pod));
    }
}

fn event(set: &DaemonSet, warning: bool, reason: &'static str, message: String) -> EventRecord {
    let source = EventSource::Component(COMPONENT);
    EventRecord { about: target(set), warning, reason, message, source }
}

fn target(set: &DaemonSet) -> Target {
    Target::of(served("apps", "daemonsets"), set.header())
}

#[cfg(test)]
#[path = "daemon_set/tests.rs"]
mod tests;
