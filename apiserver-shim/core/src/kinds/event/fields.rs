//! The fields of Events that field selectors may name, read out of the stored bytes without building a tree: there is at
//! least one Event for every Pod.

use serde::Deserialize;

use crate::kinds::{FieldName, named};

/// None if a member does not have the expected type.
pub(super) fn of(bytes: &[u8]) -> Option<Vec<(FieldName, String)>> {
    let event: Event = serde_json::from_slice(bytes).ok()?;
    let about = event.involved_object;
    let source = event.source.component;
    Some(named([
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
    ]))
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

#[cfg(test)]
#[path = "fields/tests.rs"]
mod tests;
