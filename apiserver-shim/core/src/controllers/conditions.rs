//! Conditions in a `status`: reading them, setting them with upstream's rules, and comparing values that differ in empty
//! members only.

use serde_json::Value;
use shim_model::access;

use super::Change;
use crate::rows::Seconds;

/// A condition to set; [`set_condition`] applies the rules of `lastTransitionTime`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
}

/// The condition of this type.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    access::list(status, &["conditions"]).iter().find(|c| access::text(c, &["type"]) == kind)
}

/// Sets a condition as upstream's workload controllers do. Equal status and reason: no change. Equal status: keeps
/// `lastTransitionTime`. A changed condition moves to the end of the list.
pub fn set_condition(status: &mut Value, new: &Condition<'_>, now: Seconds, with_update_time: bool) {
    let time = Value::from(crate::rows::rfc3339(now));
    let mut since = time.clone();
    if let Some(old) = condition(status, new.kind)
        && access::text(old, &["status"]) == new.status
    {
        if access::text(old, &["reason"]) == new.reason {
            return;
        }
        since = old.get("lastTransitionTime").cloned().unwrap_or(since);
    }
    remove_condition(status, new.kind);
    let mut fresh = serde_json::json!({
        "type": new.kind, "status": new.status, "reason": new.reason, "message": new.message, "lastTransitionTime": since,
    });
    if with_update_time {
        fresh["lastUpdateTime"] = time;
    }
    let list =
        access::object_mut(status, &[]).entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.push(fresh);
    }
}

/// Whether status, reason and message of a condition are these.
pub fn says(old: &Value, new: &Condition<'_>) -> bool {
    let text = |key: &str| access::text(old, &[key]);
    [text("status"), text("reason"), text("message")] == [new.status, new.reason, new.message]
}

/// The edit that puts a condition in place of the one of its type, at the end of the list.
pub fn replace_condition(status: &Value, new: &Condition<'_>, since: &str) -> Change {
    let others = access::list(status, &["conditions"]).iter();
    let mut all: Vec<Value> = others.filter(|c| access::text(c, &["type"]) != new.kind).cloned().collect();
    all.push(serde_json::json!({"type": new.kind, "status": new.status, "reason": new.reason,
        "message": new.message, "lastTransitionTime": since}));
    Change::Put(&["status", "conditions"], all.into())
}

/// The configuration of a server-side apply that sets a condition.
pub fn applied_condition(new: &Condition<'_>, since: &str) -> Value {
    let condition = serde_json::json!({"type": new.kind, "status": new.status, "reason": new.reason,
        "message": new.message, "lastTransitionTime": since});
    serde_json::json!({"status": {"conditions": [condition]}})
}

/// Removes the condition of this type.
pub fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(list) = access::list_mut(status, &["conditions"]) {
        list.retain(|c| access::text(c, &["type"]) != kind);
        if list.is_empty() {
            access::object_mut(status, &[]).remove("conditions");
        }
    }
}

/// Whether two JSON values are equal, where a member that is null or empty equals an absent one.
pub fn equal_ignoring_empty(a: &Value, b: &Value) -> bool {
    fn absent(v: &Value) -> bool {
        match v {
            Value::Null => true,
            Value::Object(m) => m.values().all(absent),
            Value::Array(l) => l.is_empty(),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| y.get(k).map_or_else(|| absent(v), |w| equal_ignoring_empty(v, w)))
                && y.iter().all(|(k, w)| x.contains_key(k) || absent(w))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(v, w)| equal_ignoring_empty(v, w))
        }
        _ => a == b || (absent(a) && absent(b)),
    }
}
