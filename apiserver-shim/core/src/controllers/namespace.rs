//! The namespace controller: deletes the content of namespaces that are being deleted, Pods first, reports what remains in
//! the status, and removes the finalizer when nothing does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header, resource::GroupResource};

use super::{
    Action, Change, Condition, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target,
    View, served, set_condition,
};
use crate::rows::Seconds;

/// The finalizer in `spec.finalizers` that this controller removes.
pub const FINALIZER: &str = "kubernetes";

/// Seconds until a namespace with remaining content is reconciled again, which refreshes its status. Apart from that it is
/// reconciled when its last Pod is gone and when its last object is gone.
const REQUEUE_AFTER: i64 = 5;

/// Empties namespaces.
pub struct NamespaceController;

impl Controller for NamespaceController {
    const NAME: &'static str = "namespace-controller";
    const SERVICE_ACCOUNT: &'static str = "namespace-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::every_resource()]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "namespaces") {
            if change.header().deletion_timestamp.is_some() {
                keys.insert(change.name());
            }
            return;
        }
        let namespace = change.header().namespace.as_str();
        if !change.is_deletion() || namespace.is_empty() {
            return;
        }
        let mut left = view.counts(namespace);
        let last_of_its_kind = left.all(|(resource, _)| *resource != change.resource);
        if last_of_its_kind {
            let resource = served("", "namespaces");
            let deleting = view.object(&resource, "", namespace);
            if deleting.is_some_and(|n| n.header().deletion_timestamp.is_some()) {
                keys.insert(ObjectName::new(resource, "", namespace));
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(namespace) = view.named(key) else { return Plan::default() };
        let header = namespace.header();
        if header.deletion_timestamp.is_none() {
            return Plan::default();
        }
        let content = view.counts(&header.name).flat_map(|(resource, _)| {
            view.in_namespace(resource, &header.name).map(move |object| (resource, object.header()))
        });
        let value = namespace.value();
        plan(&Snapshot { header, value: &value, content: content.collect(), now: view.now })
    }
}

/// A namespace that is being deleted, and what it contains.
struct Snapshot<'a> {
    header: &'a Header,
    value: &'a Value,
    content: Vec<(&'a GroupResource, &'a Header)>,
    now: Seconds,
}

fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    let target = Target::of(served("", "namespaces"), snapshot.header);
    let is_pod = |resource: &GroupResource| resource.parts() == ("", "pods");
    let pods_first = snapshot.content.iter().any(|(resource, _)| is_pod(resource));
    for (resource, header) in &snapshot.content {
        if header.deletion_timestamp.is_none() && (is_pod(resource) || !pods_first) {
            let target = Target::of((*resource).clone(), header);
            plan.actions.push(Action::Delete {
                target,
                propagation: Propagation::Background,
                grace_seconds: None,
            });
        }
    }
    let status = status(snapshot);
    if status != snapshot.value["status"] {
        let changes = vec![Change::Put(&["status"], status)];
        plan.actions.push(Action::Change { target: target.clone(), subresource: Some("status"), changes });
    }
    if !snapshot.content.is_empty() {
        plan.requeue_after(REQUEUE_AFTER);
        return plan;
    }
    let finalizers = access::list(snapshot.value, &["spec", "finalizers"]);
    if finalizers.iter().any(|f| f == FINALIZER) {
        let rest: Vec<&Value> = finalizers.iter().filter(|f| *f != FINALIZER).collect();
        let changes = vec![Change::Put(&["spec", "finalizers"], json!(rest))];
        plan.actions.push(Action::Change { target, subresource: Some("finalize"), changes });
    }
    plan
}

fn status(snapshot: &Snapshot<'_>) -> Value {
    let mut status =
        if snapshot.value["status"].is_object() { snapshot.value["status"].clone() } else { json!({}) };
    status["phase"] = Value::from("Terminating");
    let mut remaining: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (resource, header) in &snapshot.content {
        *remaining.entry(resource.to_string()).or_default() += 1;
        for finalizer in &header.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let mut set = |kind, bad: bool, reason, message: &str| {
        let new = Condition { kind, status: if bad { "True" } else { "False" }, reason, message };
        set_condition(&mut status, &new, snapshot.now, false);
    };
    set(
        "NamespaceDeletionDiscoveryFailure",
        false,
        "ResourcesDiscovered",
        "All resources successfully discovered",
    );
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    );
    set(
        "NamespaceDeletionContentFailure",
        false,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    );
    if remaining.is_empty() {
        set("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed");
    } else {
        let list: Vec<String> =
            remaining.iter().map(|(r, n)| format!("{r} has {n} resource instances")).collect();
        let message = format!("Some resources are remaining: {}", list.join(", "));
        set("NamespaceContentRemaining", true, "SomeResourcesRemain", &message);
    }
    if finalizers.is_empty() {
        set(
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        );
    } else {
        let list: Vec<String> =
            finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
        let message = format!("Some content in the namespace has finalizers remaining: {}", list.join(", "));
        set("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", &message);
    }
    status
}

#[cfg(test)]
#[path = "namespace/tests.rs"]
mod tests;
