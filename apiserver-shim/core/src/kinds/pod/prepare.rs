//! Preparation of a Pod between admission and validation, and warnings for its metadata.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::names;
use shim_model::time::Instant;

/// Turns `matchLabelKeys` and `mismatchLabelKeys` of Pod affinity into requirements with the Pod's own values.
pub(super) fn match_label_keys(pod: &mut Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if access::get(pod, &["spec", "affinity"]).is_none() {
        return;
    }
    let labels = access::get(pod, &["metadata", "labels"]).cloned().unwrap_or(Value::Null);
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in access::list_mut(pod, &["spec", "affinity", kind, REQUIRED]).into_iter().flatten() {
            one_term(term, &labels);
        }
        for weighted in access::list_mut(pod, &["spec", "affinity", kind, PREFERRED]).into_iter().flatten() {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                one_term(term, &labels);
            }
        }
    }
}

fn one_term(term: &mut Value, labels: &Value) {
    if term.get("labelSelector").is_none() {
        return;
    }
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> =
            access::list(term, &[keys]).iter().filter_map(|k| Some(k.as_str()?.to_owned())).collect();
        for key in keys {
            let Some(value) = labels.get(&key).cloned() else { continue };
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            let selector = access::object_mut(term, &["labelSelector"]);
            let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
            expressions.as_array_mut().into_iter().for_each(|e| e.push(requirement.clone()));
        }
    }
}

/// Sets the `PodScheduled` condition of a Pod with scheduling gates.
pub(super) fn gated_condition(pod: &mut Value, now: Instant) {
    if access::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": null,
        "lastTransitionTime": now.to_rfc3339(),
    });
    access::object_mut(pod, &["status"]).insert("conditions".into(), json!([condition]));
}

/// Warnings for the Pod's metadata.
pub(super) fn warnings(pod: &Value, create: bool) -> Vec<String> {
    let mut out = Vec::new();
    let wrong = names::dns_label(access::text(pod, &["metadata", "name"]));
    if create && !access::text(pod, &["metadata", "name"]).is_empty() && !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    if access::get(pod, &["metadata", "annotations", SECCOMP]).is_some()
        && access::get(pod, &["spec", "securityContext", "seccompProfile"]).is_none()
    {
        out.push(format!("metadata.annotations[{SECCOMP}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
    }
    out
}
