//! The StatefulSet controller: Pods with fixed names and claims, one per ordinal.
//!
//! Reading order: this file (`plan` lists the steps); `identity` makes names, labels and Pods; `history` finds or creates the
//! revisions; `claims` creates PersistentVolumeClaims and says who owns them; `members` creates and deletes Pods in order;
//! `status` counts. With OrderedReady a step waits until all Pods with lower ordinals are available, and one Pod changes at a
//! time.

mod claims;
mod history;
mod identity;
mod members;
mod status;

use shim_model::object::Header;

use super::{
    Action, Change, Controller, CreationEvents, CreationText, EventRecord, EventSource, Input, Keys,
    ObjectChange, ObjectName, Plan, Target, View,
    owned_pods::{self, keys_of_owner},
    revisions::Revisions,
    served,
};
use crate::rows::{ControllerRevision, Key, Pod, Seconds, StatefulSet};

/// The source of its Events.
pub const COMPONENT: &str = "statefulset-controller";

/// Runs StatefulSets.
pub struct StatefulSetController;

impl Controller for StatefulSetController {
    const NAME: &'static str = "statefulset-controller";
    const SERVICE_ACCOUNT: &'static str = "statefulset-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::views::<StatefulSet>(),
            Input::views::<ControllerRevision>(),
            Input::views::<Pod>(),
            Input::headers("", "persistentvolumeclaims"),
        ]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "statefulsets" => {
                keys.insert(change.name());
            }
            "persistentvolumeclaims" => keys_of_claim(change.header(), view, keys),
            _ => change.headers().for_each(|object| {
                keys_of_owner::<StatefulSet>(object, "StatefulSet", view, keys);
            }),
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(set) = view.get::<StatefulSet>(&key.key) else { return Plan::default() };
        let header = set.header();
        if header.deletion_timestamp.is_some() || set.selector.is_empty() {
            // The garbage collector deletes what it owns. Validation refuses an empty selector, which would claim every Pod.
            return Plan::default();
        }
        let resource = served("", "persistentvolumeclaims");
        let claim = |name: &str| view.object(&resource, &header.namespace, name).map(|claim| claim.header());
        plan(&Snapshot {
            set,
            pods: owned_pods::related(view, header, &set.selector),
            revisions: Revisions::of(view, header, &set.selector),
            claim: &claim,
            now: view.now,
        })
    }
}

/// The StatefulSet whose Pod has a claim, by the claim's name: `TEMPLATE-SET-ORDINAL`.
fn keys_of_claim(claim: &Header, view: &View<'_>, keys: &mut Keys) {
    let Some((member, _)) = identity::split(&claim.name) else { return };
    for (dash, _) in member.match_indices('-') {
        let (template, set_name) = (&member[..dash], &member[dash + 1..]);
        let set = view.get::<StatefulSet>(&Key::new(&claim.namespace, set_name));
        let has_template =
            |set: &&StatefulSet| set.claim_templates.iter().any(|own| claims::template_name(own) == template);
        if let Some(set) = set.filter(has_template) {
            keys.insert(ObjectName::of(served("apps", "statefulsets"), set.header()));
        }
    }
}

/// What one reconcile of a StatefulSet reads.
struct Snapshot<'a> {
    set: &'a StatefulSet,
    /// Every Pod that the set controls, or that it selects and that has no controller.
    pods: Vec<&'a Pod>,
    revisions: Revisions<'a>,
    /// The PersistentVolumeClaim with this name.
    claim: &'a dyn Fn(&str) -> Option<&'a Header>,
    now: Seconds,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let set = snapshot.set;
    let about = Target::of(served("apps", "statefulsets"), set.header());
    let mut plan = Plan {
        creation_events: Some(CreationEvents { about, component: COMPONENT, text: CreationText::Members }),
        ..Plan::default()
    };
    let history = history::find(snapshot, &mut plan);
    let matches =
        |pod: &Pod| set.selector.matches(&pod.header().labels) && identity::ordinal_of(set, pod).is_some();
    let (pods, adoptions) = owned_pods::claim(set.header(), "StatefulSet", &snapshot.pods, matches);
    plan.actions.extend(adoptions);
    let steps = members::steps(snapshot, &history, &pods);
    let status = status::of(snapshot, &history, &pods, steps.replaced);
    if status != set.status {
        // The status comes before the Pods: a plan ends at the first refusal.
        plan.actions.push(Action::Change {
            target: target(set),
            subresource: Some("status"),
            changes: vec![Change::Put(&["status"], status)],
        });
    }
    plan.actions.extend(steps.actions);
    plan.events.extend(steps.events);
    plan.actions.extend(history::clean_up(snapshot, &history, &pods));
    if set.min_ready_seconds > 0
        && let Some(soonest) = owned_pods::soonest_available(&pods, set.min_ready_seconds, snapshot.now)
    {
        plan.requeue_after(soonest);
    }
    plan
}

fn event(set: &StatefulSet, warning: bool, reason: &'static str, message: String) -> EventRecord {
    let source = EventSource::Component(COMPONENT);
    EventRecord { about: target(set), warning, reason, message, source }
}

fn target(set: &StatefulSet) -> Target {
    Target::of(served("apps", "statefulsets"), set.header())
}

#[cfg(test)]
#[path = "stateful_set/tests.rs"]
mod tests;
