//! The `/scale` subresource of workloads.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::managed_fields::ScaleOwners;
use shim_model::selector::LabelSelector;
use shim_model::status::{self, Status};

/// The Scale of a workload in served form (with resourceVersion).
pub fn read(workload: &Value) -> Value {
    let mut meta = serde_json::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = access::get(workload, &["metadata", key]) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    let selector = access::get(workload, &["spec", "selector"]).and_then(selector_of);
    let mut spec = serde_json::Map::new();
    let replicas = access::int(workload, &["spec", "replicas"]).unwrap_or(0);
    if replicas != 0 {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = serde_json::Map::new();
    status.insert("replicas".into(), access::int(workload, &["status", "replicas"]).unwrap_or(0).into());
    if let Some(selector) = selector.map(|s| s.to_string()).filter(|s| !s.is_empty()) {
        status.insert("selector".into(), selector.into());
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}

/// The selector of a workload: a map of labels in ReplicationControllers.
fn selector_of(selector: &Value) -> Option<LabelSelector> {
    let is_structured = ["matchLabels", "matchExpressions"]
        .iter()
        .any(|member| selector.get(member).is_some_and(|member| !member.is_string()));
    match is_structured {
        true => LabelSelector::from_value(selector).ok(),
        false => LabelSelector::from_value(&json!({"matchLabels": selector})).ok(),
    }
}

/// How the owners of the replicas of a workload in this version correspond to those of its Scale.
pub fn owners(api_version: &str) -> ScaleOwners<'_> {
    const REPLICAS: &[&str] = &["spec", "replicas"];
    ScaleOwners { api_version, paths: &[("apps/v1", REPLICAS), ("v1", REPLICAS)] }
}

/// Sets the workload's replicas from the Scale.
pub fn write(workload: &mut Value, scale: &Value) -> Result<(), Status> {
    let replicas = access::int(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let name = access::text(scale, &["metadata", "name"]);
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(status::invalid("autoscaling", "Scale", name, &[error]));
    }
    access::object_mut(workload, &["spec"]).insert("replicas".into(), replicas.into());
    Ok(())
}
