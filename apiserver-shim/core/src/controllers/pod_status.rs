//! Merges the status that a node reports into the stored one: the node owns most of `status`, the scheduler and the
//! controllers own some conditions, and a terminal phase is final.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use shim_model::access;

/// Conditions that the node does not own.
const OTHERS_CONDITIONS: [&str; 2] = ["PodScheduled", "DisruptionTarget"];
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
        .filter(|c| OTHERS_CONDITIONS.contains(&access::text(c, &["type"])));
    let theirs = access::list(from_node, &["conditions"])
        .iter()
        .filter(|c| !OTHERS_CONDITIONS.contains(&access::text(c, &["type"])));
    let mut conditions: Vec<Value> = theirs.cloned().collect();
    conditions.extend(kept.cloned());
    if !conditions.is_empty() {
        access::object_mut(&mut merged, &[]).insert("conditions".to_owned(), Value::from(conditions));
    }
    merged
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
    let mut conditions: Vec<&str> = Vec::new();
    for (members, by_the_node) in [(&merged, true), (&old, false)] {
        let Some(list) = members.get("conditions") else { continue };
        let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
        for condition in list {
            let condition = condition.get();
            let Condition { kind } = serde_json::from_str(condition).ok()?;
            if OTHERS_CONDITIONS.contains(&kind) != by_the_node {
                conditions.push(condition);
            }
        }
    }
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
