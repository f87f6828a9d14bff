//! The scheduler's edits of a decoded Pod's status.

use kernel_model::wait::WaitNote;
use serde_json::{Value, json};
use shim_model::access;

use crate::controllers::{Condition, pod_status, set_condition};
use crate::rows::Seconds;

/// Merges the node's status into the stored one.
pub(crate) fn merge_status(pod: &mut Value, from_node: &[u8]) {
    // The caller has checked that the status is an object; anything else changes nothing.
    let Ok(from_node) = serde_json::from_slice::<Value>(from_node) else { return };
    let merged = pod_status::merge(&pod["status"], &from_node);
    pod["status"] = merged;
}

/// Marks a Pod as finished, unless it has finished.
pub(crate) fn end(pod: &mut Value, succeeded: bool, reason: &str, message: &str, now: &str) {
    let phase = if succeeded { "Succeeded" } else { "Failed" };
    if !matches!(access::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
        pod["status"] = pod_status::ended(&pod["status"], phase, reason, message, now);
    }
}

/// What happens to a Pod's `status.nominatedNodeName`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NominatedNode {
    /// It stays.
    #[default]
    Keep,
    /// It is removed.
    Clear,
    /// It is set.
    Set(Box<str>),
}

/// The condition of a Pod whose role gets no offers from the kernel. Its reason is for programs: the first that the kernel named.
const OFFERED: &str = "catamaran.dev/Offered";

/// Sets the condition [`OFFERED`], or removes it if there is no reason.
fn set_offered(status: &mut Value, offers: &[WaitNote], now: Seconds) {
    let Some(first) = offers.first() else { return remove_offered(status) };
    let message = offers.iter().map(|note| &*note.message).collect::<Vec<_>>().join(", ");
    let reason = camel_case(&first.reason);
    let new = Condition { kind: OFFERED, status: "False", reason: &reason, message: &message };
    set_condition(status, &new, now, false);
}

/// The Pod has a node, or waits for something else than offers.
pub(crate) fn remove_offered(status: &mut Value) {
    if let Some(list) = access::list_mut(status, &["conditions"]) {
        list.retain(|condition| access::text(condition, &["type"]) != OFFERED);
    }
}

/// `QUOTA_LIMIT` as `QuotaLimit`.
fn camel_case(code: &str) -> String {
    let mut name = String::with_capacity(code.len());
    for word in code.split('_') {
        let (first, rest) = word.split_at(word.len().min(1));
        name.push_str(first);
        name.push_str(&rest.to_lowercase());
    }
    name
}

/// Sets the `PodScheduled` condition to the reason why the Pod is pending, unless it has been bound meanwhile. Without a message
/// only the nomination changes.
pub fn set_unschedulable(
    pod: &mut Value,
    message: Option<&str>,
    offers: &[WaitNote],
    nominated: &NominatedNode,
    now: Seconds,
) {
    if !access::text(pod, &["spec", "nodeName"]).is_empty() {
        return;
    }
    let members = access::object_mut(pod, &["status"]);
    match nominated {
        NominatedNode::Keep => {}
        NominatedNode::Clear => drop(members.remove("nominatedNodeName")),
        NominatedNode::Set(node) => drop(members.insert("nominatedNodeName".to_owned(), json!(node))),
    }
    let Some(message) = message else { return };
    let generation = pod["metadata"]["generation"].clone();
    let status = &mut pod["status"];
    set_offered(status, offers, now);
    let new = Condition { kind: "PodScheduled", status: "False", reason: "Unschedulable", message };
    set_condition(status, &new, now, false);
    // The message may change while the reason stays the same.
    for condition in access::list_mut(status, &["conditions"]).into_iter().flatten() {
        if access::text(condition, &["type"]) == "PodScheduled" {
            condition["message"] = json!(message);
            // Upstream always prints this member.
            let condition = access::as_object(condition);
            condition.entry("lastProbeTime").or_insert(Value::Null);
            if generation.is_number() {
                condition.insert("observedGeneration".to_owned(), generation.clone());
            }
        }
    }
}
