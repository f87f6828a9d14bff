//! The fields that field selectors may ask for, read out of an object when the first one asks. Which fields a kind has is the
//! kind's own; here they meet the cache, which keeps the storage group's face of an object.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shim_core::definition::ResourceDefinition;
use shim_model::object::StoredObject;
use shim_model::resource::Resource;

/// The fields of an object, beside name and namespace.
pub fn of(resource: &ResourceDefinition, object: &StoredObject) -> Vec<(&'static str, String)> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        // Pods change most of all, so that theirs are read without building the whole.
        ("", "pods") => of_pod(object),
        ("", "events") => of_event(&object.bytes),
        _ => None,
    }
    .unwrap_or_else(|| {
        let kind = resource.strategy();
        match kind.selectable_fields().is_empty() {
            true => Vec::new(),
            false => kind.selectable(&serde_json::from_slice(&object.bytes).unwrap_or_default()),
        }
    })
}

/// Nothing where a member has not the type that it should have: then the whole is built.
fn of_pod(object: &StoredObject) -> Option<Vec<(&'static str, String)>> {
    let (spec, status): (PodSpec, PodStatus) = (part(object.spec())?, part(object.status())?);
    Some(vec![
        ("spec.nodeName", spec.node_name),
        ("spec.restartPolicy", spec.restart_policy),
        ("spec.schedulerName", spec.scheduler_name),
        ("spec.serviceAccountName", spec.service_account_name),
        ("spec.hostNetwork", spec.host_network.to_string()),
        ("status.phase", status.phase),
        ("status.podIP", status.pod_ip),
        ("status.nominatedNodeName", status.nominated_node_name),
    ])
}

fn part<T: DeserializeOwned + Default>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() {
        return Some(T::default());
    }
    serde_json::from_slice(bytes).ok()
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
    match (resource.group.as_str(), name) {
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
