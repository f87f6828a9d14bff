//! The `DisruptionTarget` condition: who ends a Pod that would have gone on says so before the deletion, and Jobs and
//! users can tell such an end from a failure.

use serde_json::{Value, json};
use shim_model::access;

use super::{Action, Change, Target};
use crate::rows::{Seconds, rfc3339};

/// Why a Pod is disrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Disruption {
    pub reason: &'static str,
    pub message: &'static str,
}

impl Disruption {
    /// Sets the condition of a Pod. Returns whether anything changed.
    pub fn mark(&self, pod: &mut Value, now: Seconds) -> bool {
        mark_disrupted(pod, (self.reason, self.message), now)
    }

    /// The write that sets the condition.
    pub fn action(self, target: Target, now: Seconds) -> Action {
        Action::Change { target, subresource: Some("status"), changes: vec![Change::Disrupt(self, now)] }
    }
}

/// Sets the condition `DisruptionTarget` of a Pod. Returns whether anything changed.
pub fn mark_disrupted(pod: &mut Value, (reason, message): (&str, &str), now: Seconds) -> bool {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": rfc3339(now),
    });
    if let Some(generation) = access::int(pod, &["metadata", "generation"]) {
        condition["observedGeneration"] = generation.into();
    }
    let conditions = access::object_mut(pod, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return false };
    let Some(old) = conditions.iter_mut().find(|c| access::text(c, &["type"]) == "DisruptionTarget") else {
        conditions.push(condition);
        return true;
    };
    if old["status"] == condition["status"] {
        condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    let changed = *old != condition;
    *old = condition;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const EVICTED: Disruption =
        Disruption { reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" };

    #[test]
    fn a_disruption_is_marked_once_and_beside_other_conditions() {
        let mut pod = json!({"metadata": {"generation": 2}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(EVICTED.mark(&mut pod, 100));
        assert!(!EVICTED.mark(&mut pod, 200));
        let other = Disruption { reason: "DeletionByPodGC", ..EVICTED };
        assert!(other.mark(&mut pod, 300));
        expect![[r#"[{"status":"True","type":"Ready"},{"lastProbeTime":null,"lastTransitionTime":"1970-01-01T00:01:40Z","message":"Eviction API: evicting","observedGeneration":2,"reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}]"#]]
            .assert_eq(&pod["status"]["conditions"].to_string());
    }
}
