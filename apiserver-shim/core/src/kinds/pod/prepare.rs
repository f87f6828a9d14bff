//! Preparation of a Pod between admission and validation, and what is said about old annotations.

use serde_json::{Value, json};
use shim_model::access;
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

/// The prefix of the annotations that were AppArmor profiles of containers before the field was.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A container whose profile is only in an annotation: its place, the annotation, and the profile, if that is valid.
fn annotated(pod: &Value) -> Vec<(&'static str, usize, String, Option<Value>)> {
    if access::text(pod, &["spec", "os", "name"]) == "windows" {
        return Vec::new();
    }
    let of_pod = access::get(pod, &["spec", "securityContext", "appArmorProfile"]);
    let mut out = Vec::new();
    for list in ["initContainers", "containers"] {
        for (at, container) in access::list(pod, &["spec", list]).iter().enumerate() {
            let key = format!("{APPARMOR}{}", access::text(container, &["name"]));
            let annotation = access::get(pod, &["metadata", "annotations", &key]).and_then(Value::as_str);
            let own = access::get(container, &["securityContext", "appArmorProfile"]);
            let Some(annotation) = annotation.filter(|_| own.is_none()) else { continue };
            let profile = profile_of(annotation);
            if profile.is_none() || profile.as_ref() != of_pod {
                out.push((list, at, key, profile));
            }
        }
    }
    out
}

/// The profile that an annotation names.
fn profile_of(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(json!({"type": "Unconfined"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let is_valid = !name.is_empty() && name.trim() == name;
            is_valid.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Makes fields of the annotations that name AppArmor profiles.
pub(super) fn apparmor_profiles(pod: &mut Value) {
    for (list, at, _, profile) in annotated(pod) {
        let containers = access::list_mut(pod, &["spec", list]).into_iter().flatten();
        if let (Some(container), Some(profile)) = (containers.into_iter().nth(at), profile) {
            access::object_mut(container, &["securityContext"]).insert("appArmorProfile".into(), profile);
        }
    }
}

/// Warnings about those annotations.
pub(super) fn apparmor_warnings(pod: &Value) -> Vec<String> {
    let warn = |key: &str| {
        format!(
            "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        )
    };
    annotated(pod).iter().map(|(_, _, key, _)| warn(key)).collect()
}
