//! The fields of Pods that field selectors may name, read out of the stored bytes without decoding the whole: of all objects
//! Pods change most often.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shim_model::object::StoredObject;

use crate::kinds::{FieldName, named};

/// None if a member does not have the expected type.
pub(super) fn of(object: &StoredObject) -> Option<Vec<(FieldName, String)>> {
    let (spec, status): (PodSpec, PodStatus) = (part(object.spec())?, part(object.status())?);
    Some(named([
        ("spec.nodeName", spec.node_name),
        ("spec.restartPolicy", spec.restart_policy),
        ("spec.schedulerName", spec.scheduler_name),
        ("spec.serviceAccountName", spec.service_account_name),
        ("spec.hostNetwork", spec.host_network.to_string()),
        ("status.phase", status.phase),
        ("status.podIP", status.pod_ip),
        ("status.nominatedNodeName", status.nominated_node_name),
    ]))
}

fn part<T: DeserializeOwned + Default>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() {
        return Some(T::default());
    }
    serde_json::from_slice(bytes).ok()
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

#[cfg(test)]
#[path = "fields/tests.rs"]
mod tests;
