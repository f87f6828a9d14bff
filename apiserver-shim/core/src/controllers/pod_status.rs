//! Merges the status that a node reports into the stored one. The node owns most of `status` and a fixed set of
//! conditions. All other conditions belong to the scheduler, the controllers or the user. A terminal phase is final.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use shim_model::access;

/// The conditions that the node owns, as upstream. A readiness gate may name any other.
const NODE_CONDITIONS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];
/// The condition that the node shares with the API server: who disrupts the Pod sets it.
const SHARED_CONDITION: &str = "DisruptionTarget";
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
    let stored_conditions = access::list(stored, &["conditions"]);
    let disrupted = stored_conditions.iter().any(|c| kind(c) == SHARED_CONDITION);
    let theirs = || access::list(from_node, &["conditions"]).iter();
    let own = theirs().filter(|c| NODE_CONDITIONS.contains(&kind(c)));
    let shared = theirs().filter(|c| !disrupted && kind(c) == SHARED_CONDITION);
    let kept = stored_conditions.iter().filter(|c| !NODE_CONDITIONS.contains(&kind(c)));
    // The shared condition is next to those that are kept, because it is one of them in the next report.
    let conditions: Vec<Value> = own.chain(shared).chain(kept).cloned().collect();
    if !conditions.is_empty() {
        access::object_mut(&mut merged, &[]).insert("conditions".to_owned(), Value::from(conditions));
    }
    merged
}

fn kind(condition: &Value) -> &str {
    access::text(condition, &["type"])
}

/// Members of an encoded object. Keys with escapes fail to parse, so that every key can be written without escaping.
type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

/// The member that identifies the owner of a condition. A type with escapes fails to parse.
#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", default)]
    kind: &'a str,
}

/// [`merge`] on encoded statuses, without decoding the members that are copied. `None` if a status has an unexpected form;
/// the caller then decodes it.
pub fn merge_encoded(stored: &[u8], from_node: &[u8]) -> Option<Vec<u8>> {
    let old: Members<'_> = serde_json::from_slice(stored).ok()?;
    let mut merged: Members<'_> = serde_json::from_slice(from_node).ok()?;
    let (before, after) = (plain_text(&old, "phase")?, plain_text(&merged, "phase")?);
    if matches!(before, "Succeeded" | "Failed") && before != after {
        return Some(stored.to_vec());
    }
    for member in KEPT_MEMBERS {
        if let Some(value) = old.get(member) {
            merged.entry(member).or_insert(value);
        }
    }
    let (stored_conditions, of_node) = (conditions_of(&old)?, conditions_of(&merged)?);
    let disrupted = stored_conditions.iter().any(|(kind, _)| *kind == SHARED_CONDITION);
    let own = of_node.iter().filter(|(kind, _)| NODE_CONDITIONS.contains(kind));
    let shared = of_node.iter().filter(|(kind, _)| !disrupted && *kind == SHARED_CONDITION);
    let kept = stored_conditions.iter().filter(|(kind, _)| !NODE_CONDITIONS.contains(kind));
    let conditions: Vec<&str> = own.chain(shared).chain(kept).map(|(_, condition)| *condition).collect();
    if !conditions.is_empty() {
        merged.remove("conditions");
    }
    let mut out = Vec::with_capacity(from_node.len() + stored.len() / 2);
    let mut members: Vec<(&str, &str)> = merged.iter().map(|(key, value)| (*key, value.get())).collect();
    let list = format!("[{}]", conditions.join(","));
    if !conditions.is_empty() {
        let at = members.partition_point(|(key, _)| *key < "conditions");
        members.insert(at, ("conditions", &list));
    }
    for (key, value) in members {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
    Some(out)
}

/// The conditions of an encoded status, each with its type.
fn conditions_of<'a>(members: &Members<'a>) -> Option<Vec<(&'a str, &'a str)>> {
    let Some(list) = members.get("conditions") else { return Some(Vec::new()) };
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let with_type = |condition: &'a RawValue| {
        let Condition { kind } = serde_json::from_str(condition.get()).ok()?;
        Some((kind, condition.get()))
    };
    list.into_iter().map(with_type).collect()
}

/// A member that is a string without escapes; empty if absent.
fn plain_text<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    let Some(value) = members.get(key) else { return Some("") };
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// The status of a Pod whose task ended without a status from its node.
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
