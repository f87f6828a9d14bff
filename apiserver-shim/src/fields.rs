//! The fields that field selectors may ask for, read out of an object when it enters the cache.
//!
//! One row per kind; `metadata.name` and `metadata.namespace` belong to every kind and are read from the header.

use serde_json::Value;
use shim_model::access;
use shim_model::resource::Resource;

/// A selectable field: its name in selectors, where it is, and what it reads as where it is not.
pub struct Field {
    /// As selectors write it.
    pub name: &'static str,
    path: &'static [&'static str],
    absent: &'static str,
}

const fn field(name: &'static str, path: &'static [&'static str]) -> Field {
    Field { name, path, absent: "" }
}

const POD: &[Field] = &[
    field("spec.nodeName", &["spec", "nodeName"]),
    field("spec.restartPolicy", &["spec", "restartPolicy"]),
    field("spec.schedulerName", &["spec", "schedulerName"]),
    field("spec.serviceAccountName", &["spec", "serviceAccountName"]),
    Field { name: "spec.hostNetwork", path: &["spec", "hostNetwork"], absent: "false" },
    field("status.phase", &["status", "phase"]),
    field("status.podIP", &["status", "podIP"]),
    field("status.nominatedNodeName", &["status", "nominatedNodeName"]),
];
const NODE: &[Field] =
    &[Field { name: "spec.unschedulable", path: &["spec", "unschedulable"], absent: "false" }];
const NAMESPACE: &[Field] =
    &[field("status.phase", &["status", "phase"]), field("name", &["metadata", "name"])];
const SECRET: &[Field] = &[field("type", &["type"])];
const SERVICE: &[Field] =
    &[field("spec.clusterIP", &["spec", "clusterIP"]), field("spec.type", &["spec", "type"])];
const REPLICA_SET: &[Field] =
    &[Field { name: "status.replicas", path: &["status", "replicas"], absent: "0" }];
const EVENT: &[Field] = &[
    field("involvedObject.kind", &["involvedObject", "kind"]),
    field("involvedObject.namespace", &["involvedObject", "namespace"]),
    field("involvedObject.name", &["involvedObject", "name"]),
    field("involvedObject.uid", &["involvedObject", "uid"]),
    field("involvedObject.apiVersion", &["involvedObject", "apiVersion"]),
    field("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"]),
    field("involvedObject.fieldPath", &["involvedObject", "fieldPath"]),
    field("reason", &["reason"]),
    field("reportingComponent", &["reportingComponent"]),
    field("source", &["source", "component"]),
    field("type", &["type"]),
];

/// The selectable fields of the objects that are stored for a resource.
pub fn of(resource: &Resource) -> &'static [Field] {
    match (resource.storage_group, resource.plural) {
        ("", "pods") => POD,
        ("", "nodes") => NODE,
        ("", "namespaces") => NAMESPACE,
        ("", "secrets") => SECRET,
        ("", "services") => SERVICE,
        ("", "events") => EVENT,
        ("apps", "replicasets") => REPLICA_SET,
        _ => &[],
    }
}

/// The name under which the cache knows a field that a selector on `resource` asks for, if there is such a field.
pub fn canonical(resource: &Resource, name: &str) -> Option<&'static str> {
    match name {
        "metadata.name" => return Some("metadata.name"),
        "metadata.namespace" => return Some("metadata.namespace"),
        _ => {}
    }
    // events.k8s.io calls the object that an event is about differently.
    let translated;
    let stored = match (resource.group, name) {
        ("events.k8s.io", name) if name.starts_with("regarding.") => {
            translated = name.replacen("regarding.", "involvedObject.", 1);
            &translated
        }
        ("events.k8s.io", name) if name.starts_with("involvedObject.") => return None,
        ("events.k8s.io", "reportingController") => "reportingComponent",
        (_, name) => name,
    };
    of(resource).iter().map(|f| f.name).find(|n| *n == stored)
}

/// The fields of a decoded object.
pub fn of_value(resource: &Resource, value: &Value) -> Vec<(&'static str, String)> {
    of(resource).iter().map(|f| (f.name, text(value, f))).collect()
}

/// The fields of an encoded object.
pub fn of_bytes(resource: &Resource, bytes: &[u8]) -> Vec<(&'static str, String)> {
    if of(resource).is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(bytes).map(|value| of_value(resource, &value)).unwrap_or_default()
}

fn text(value: &Value, field: &Field) -> String {
    match access::get(value, field.path) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) => n.to_string(),
        _ => field.absent.to_owned(),
    }
}
