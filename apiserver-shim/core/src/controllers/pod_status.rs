//! What the node says of a Pod, put into what is stored: the node owns most of `status`, the scheduler and the
//! controllers own some conditions, and a Pod that has ended stays ended.

use serde_json::{Map, Value, json};
use shim_model::access;

/// Conditions that the node does not own.
const NOT_THE_NODES: [&str; 2] = ["PodScheduled", "DisruptionTarget"];
/// Members of `status` that the node does not own.
const KEPT_MEMBERS: [&str; 4] = ["qosClass", "nominatedNodeName", "resourceClaimStatuses", "resize"];

/// The status to store, given the stored one and the node's.
pub fn merge(stored: &Value, from_node: &Value) -> Value {
    let ended = matches!(access::text(stored, &["phase"]), "Succeeded" | "Failed");
    if ended && access::text(from_node, &["phase"]) != access::text(stored, &["phase"]) {
        return stored.clone();
    }
    let mut merged = if from_node.is_object() { from_node.clone() } else { Value::Object(Map::new()) };
    for member in KEPT_MEMBERS {
        if let (None, Some(value)) = (merged.get(member), stored.get(member)) {
            let value = value.clone();
            access::object_mut(&mut merged, &[]).insert(member.to_owned(), value);
        }
    }
    let kept = access::list(stored, &["conditions"])
        .iter()
        .filter(|c| NOT_THE_NODES.contains(&access::text(c, &["type"])));
    let theirs = access::list(from_node, &["conditions"])
        .iter()
        .filter(|c| !NOT_THE_NODES.contains(&access::text(c, &["type"])));
    let mut conditions: Vec<Value> = theirs.cloned().collect();
    conditions.extend(kept.cloned());
    if !conditions.is_empty() {
        access::object_mut(&mut merged, &[]).insert("conditions".to_owned(), Value::from(conditions));
    }
    merged
}

/// The status of a Pod whose task ended without a word from its node.
pub fn ended(stored: &Value, phase: &str, reason: &str, message: &str, now: &str) -> Value {
    let mut status = stored.clone();
    let members = access::object_mut(&mut status, &[]);
    members.insert("phase".to_owned(), json!(phase));
    members.insert("reason".to_owned(), json!(reason));
    members.insert("message".to_owned(), json!(message));
    if let Some(conditions) = access::list_mut(&mut status, &["conditions"]) {
        for condition in conditions {
            let kind = access::text(condition, &["type"]);
            if matches!(kind, "Ready" | "ContainersReady") && access::text(condition, &["status"]) != "False"
            {
                condition["status"] = json!("False");
                condition["reason"] = json!("PodFailed");
                condition["lastTransitionTime"] = json!(now);
            }
        }
    }
    status
}

#[cfg(test)]
#[path = "pod_status/tests.rs"]
mod tests;
