//! What the controllers of Pods do alike: find and claim the Pods of an owner, and make them of a template.

use serde_json::{Value, json};
use shim_model::object::Header;

use super::{Action, Change, Keys, ObjectName, Propagation, Target, View, served};
use crate::rows::{LabelSelector, ObjectView, Pod, Seconds, controller_reference};

/// The Pods that an owner controls, and those that it selects and nothing controls.
pub fn related<'a>(view: &View<'a>, owner: &Header, selector: &LabelSelector) -> Vec<&'a Pod> {
    let mut pods: Vec<&Pod> = view.controlled(&owner.uid).collect();
    let matching = view.matching::<Pod>(&owner.namespace, selector);
    pods.extend(matching.into_iter().filter(|pod| pod.header().controller().is_none()));
    pods
}

/// The Pods of a DaemonSet or StatefulSet: adopts those without a controller that match, and releases those that match no longer.
pub fn claim<'a>(
    owner: &Header,
    kind: &str,
    pods: &[&'a Pod],
    matches: impl Fn(&Pod) -> bool,
) -> (Vec<&'a Pod>, Vec<Action>) {
    let deleted = owner.deletion_timestamp.is_some();
    let (mut ours, mut actions) = (Vec::new(), Vec::new());
    for &pod in pods {
        let change = match pod.controller_uid() {
            Some(uid) if *uid != *owner.uid => continue,
            Some(_) if matches(pod) => {
                ours.push(pod);
                continue;
            }
            Some(_) if !deleted => Change::RemoveOwners(vec![owner.uid.clone()]),
            None if matches(pod) && !deleted && pod.deletion.is_none() => {
                ours.push(pod);
                Change::AddOwner(controller_reference("apps/v1", kind, owner))
            }
            _ => continue,
        };
        actions.push(Action::Change { target: target(pod), subresource: None, changes: vec![change] });
    }
    (ours, actions)
}

/// A Pod of a template, without a name. `reference` is the owner's.
pub fn from_template(owner: &Header, reference: Value, template: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": owner.namespace,
            "ownerReferences": [reference],
        },
        "spec": template["spec"],
    });
    for member in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(member).filter(|value| !value.is_null()) {
            pod["metadata"][member] = value.clone();
        }
    }
    pod
}

/// A Pod of a template, with a generated name.
pub fn from_template_with_generated_name(owner: &Header, reference: Value, template: &Value) -> Value {
    let mut pod = from_template(owner, reference, template);
    pod["metadata"]["generateName"] = format!("{}-", owner.name).into();
    pod
}

/// Creates a Pod.
pub fn create(owner: &Header, object: Value) -> Action {
    Action::Create { resource: served("", "pods"), namespace: owner.namespace.clone(), object }
}

/// Deletes a Pod with its own grace period.
pub fn delete(pod: &Pod) -> Action {
    Action::Delete { target: target(pod), propagation: Propagation::Background, grace_seconds: None }
}

/// The Pod as the target of an action.
pub fn target(pod: &Pod) -> Target {
    Target::of(served("", "pods"), pod.header())
}

/// Adds the owner of this kind that controls an object; for an object without a controller, every owner that selects it.
pub fn keys_of_owner<V: ObjectView>(object: &Header, kind: &str, view: &View<'_>, keys: &mut Keys) {
    let resource = served(V::GROUP, V::PLURAL);
    match object.controller() {
        Some(owner) if owner.kind == kind => {
            keys.insert(ObjectName::new(resource, &object.namespace, &owner.name));
        }
        Some(_) => {}
        None => {
            let adopters = view.selecting::<V>(&object.namespace, &object.labels);
            keys.extend(
                adopters.into_iter().map(|owner| ObjectName::of(resource.clone(), &owner.object().header)),
            );
        }
    }
}

/// Seconds until the next ready Pod becomes available, if any is waiting for that.
pub fn soonest_available(pods: &[&Pod], min_ready_seconds: i64, now: Seconds) -> Option<i64> {
    if min_ready_seconds == 0 {
        return None;
    }
    let waiting = pods.iter().filter(|pod| pod.deletion.is_none()).filter_map(|pod| pod.ready_since);
    waiting.map(|since| since + min_ready_seconds - now).filter(|left| *left > 0).min()
}
