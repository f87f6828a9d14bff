//! Namespaces that are being deleted: empty them, Pods first, say what remains, and let them go.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header, resource::GroupResource};

use super::{Action, Change, Condition, Plan, Propagation, Target, served, set_condition};
use crate::rows::Seconds;

/// The finalizer in `spec.finalizers` that this controller holds.
pub const FINALIZER: &str = "kubernetes";

/// In how many seconds to look again at a namespace that still has something in it, beside every change in it.
const REQUEUE_AFTER: i64 = 5;

/// All that one look at a namespace sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Its header.
    pub header: &'a Header,
    /// The whole object.
    pub value: &'a Value,
    /// What is in it.
    pub content: Vec<(GroupResource, &'a Header)>,
    /// The time.
    pub now: Seconds,
}

/// What to do next about a namespace.
pub fn reconcile(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    if snapshot.header.deletion_timestamp.is_none() {
        return plan;
    }
    let target = Target::of(served("", "namespaces"), snapshot.header);
    let pods_first = snapshot.content.iter().any(|(r, _)| r.parts() == ("", "pods"));
    for (resource, header) in &snapshot.content {
        let is_pod = resource.parts() == ("", "pods");
        if header.deletion_timestamp.is_none() && (is_pod || !pods_first) {
            let target = Target::of(resource.clone(), header);
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
