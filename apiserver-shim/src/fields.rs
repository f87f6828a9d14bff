//! The fields that field selectors may ask for, read out of an object when it enters the cache. Which fields a kind has
//! is the kind's own; here they meet the cache, which keeps the storage group's face of an object.

use serde::Deserialize;
use serde_json::Value;
use shim_core::kinds;
use shim_model::object::Header;
use shim_model::resource::Resource;

/// The fields of a decoded object, beside name and namespace.
pub fn of_value(resource: &Resource, value: &Value) -> Vec<(&'static str, String)> {
    kinds::of(resource).selectable(value)
}

/// The header and the fields of an encoded object; nothing if it is damaged.
pub fn parse(resource: &Resource, bytes: &[u8]) -> Option<(Header, Vec<(&'static str, String)>)> {
    let pod = resource.group.is_empty() && resource.plural == "pods";
    if let Some(parsed) = pod.then(|| parse_pod(bytes)).flatten() {
        return Some(parsed);
    }
    let header = Header::parse(bytes).ok()?;
    if kinds::of(resource).selectable_fields().is_empty() {
        return Some((header, Vec::new()));
    }
    let event = resource.group.is_empty() && resource.plural == "events";
    if let Some(fields) = event.then(|| of_event(bytes)).flatten() {
        return Some((header, fields));
    }
    let fields = serde_json::from_slice(bytes).map(|value| of_value(resource, &value)).unwrap_or_default();
    Some((header, fields))
}

/// Pods change most of all, so that theirs are read without building the whole.
fn parse_pod(bytes: &[u8]) -> Option<(Header, Vec<(&'static str, String)>)> {
    let (header, spec, status): (Header, PodSpec, PodStatus) = Header::parse_with(bytes).ok()?;
    let fields = vec![
        ("spec.nodeName", spec.node_name),
        ("spec.restartPolicy", spec.restart_policy),
        ("spec.schedulerName", spec.scheduler_name),
        ("spec.serviceAccountName", spec.service_account_name),
        ("spec.hostNetwork", spec.host_network.to_string()),
        ("status.phase", status.phase),
        ("status.podIP", status.pod_ip),
        ("status.nominatedNodeName", status.nominated_node_name),
    ];
    Some((header, fields))
}

/// There is an Event at least for every Pod, with many fields and little else.
fn of_event(bytes: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let event: Event = serde_json::from_slice(bytes).ok()?;
    let about = event.involved_object;
    let source = event.source.component;
    Some(vec![
        ("involvedObject.kind", about.kind),
        ("involvedObject.namespace", about.namespace),
        ("involvedObject.name", about.name),
        ("involvedObject.uid", about.uid),
        ("involvedObject.apiVersion", about.api_version),
        ("involvedObject.resourceVersion", about.resource_version),
        ("involvedObject.fieldPath", about.field_path),
        ("reason", event.reason),
        ("source", if source.is_empty() { event.reporting_component.clone() } else { source }),
        ("reportingComponent", event.reporting_component),
        ("type", event.kind),
    ])
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    involved_object: InvolvedObject,
    reason: String,
    reporting_component: String,
    source: EventSource,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct InvolvedObject {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
    resource_version: String,
    field_path: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EventSource {
    component: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    restart_policy: String,
    scheduler_name: String,
    service_account_name: String,
    host_network: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    nominated_node_name: String,
}

/// The name under which the cache knows a field: `events.k8s.io` has other names for the stored Events' fields.
pub fn stored_name(resource: &Resource, name: &str) -> String {
    match (resource.group, name) {
        ("events.k8s.io", "reportingController") => "reportingComponent".to_owned(),
        ("events.k8s.io", name) => match name.strip_prefix("regarding.") {
            Some(rest) => format!("involvedObject.{rest}"),
            None => name.to_owned(),
        },
        (_, name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
