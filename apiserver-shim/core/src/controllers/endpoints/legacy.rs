//! Endpoints: the older form, one object a Service, without Pods that are ending.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Endpoint, Snapshot, is_headless};
use crate::{
    controllers::{Action, Change, Plan, Target, served},
    rows::rfc3339,
};

/// Addresses in one Endpoints at most, as upstream: more belong into slices.
const ADDRESSES_MAX: usize = 1000;
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

pub(super) fn plan(snapshot: &Snapshot<'_>, behind: &[Endpoint<'_>], plan: &mut Plan) {
    let subsets = subsets(behind);
    let mut labels = json!(snapshot.header.labels);
    labels["endpoints.kubernetes.io/managed-by"] = Value::from("endpoint-controller");
    if is_headless(snapshot.value) {
        labels["service.kubernetes.io/headless"] = Value::from("");
    }
    let resource = served("", "endpoints");
    let Some((header, value)) = snapshot.endpoints else {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": snapshot.header.name,
                "namespace": snapshot.header.namespace,
                "labels": labels,
                "annotations": {TRIGGER: rfc3339(snapshot.now)},
            },
        });
        if !subsets.is_empty() {
            object["subsets"] = Value::from(subsets);
        }
        let namespace = snapshot.header.namespace.clone();
        plan.actions.push(Action::Create { resource, namespace, object });
        return;
    };
    let mut changes = Vec::new();
    if shim_model::access::list(value, &["subsets"]) != subsets {
        if subsets.is_empty() {
            changes.push(Change::Merge(json!({"subsets": null})));
        } else {
            changes.push(Change::Put(&["subsets"], Value::from(subsets)));
        }
        changes.push(Change::Merge(json!({"metadata": {"annotations": {TRIGGER: rfc3339(snapshot.now)}}})));
    }
    if value["metadata"]["labels"] != labels {
        changes.push(Change::Put(&["metadata", "labels"], labels));
    }
    if !changes.is_empty() {
        plan.actions.push(Action::Change {
            target: Target::of(resource, header),
            subresource: None,
            changes,
        });
    }
}

fn subsets(behind: &[Endpoint<'_>]) -> Vec<Value> {
    type Group = (Value, Vec<Value>, Vec<Value>);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let included = behind.iter().filter(|e| e.publish_not_ready || !e.terminating());
    for endpoint in included.take(ADDRESSES_MAX) {
        let group = groups
            .entry(endpoint.ports.to_string())
            .or_insert_with(|| (endpoint.ports.clone(), Vec::new(), Vec::new()));
        let mut address = json!({"ip": endpoint.ip, "targetRef": endpoint.reference()});
        if let Some(node) = &endpoint.pod.node {
            address["nodeName"] = Value::from(&**node);
        }
        if endpoint.ready() { &mut group.1 } else { &mut group.2 }.push(address);
    }
    let subset = |(mut ports, ready, not_ready): Group| {
        for port in ports.as_array_mut().into_iter().flatten() {
            if port["name"] == "" {
                port.as_object_mut().map(|p| p.remove("name"));
            }
        }
        let mut subset = json!({});
        if !ready.is_empty() {
            subset["addresses"] = Value::from(ready);
        }
        if !not_ready.is_empty() {
            subset["notReadyAddresses"] = Value::from(not_ready);
        }
        if ports.as_array().is_some_and(|p| !p.is_empty()) {
            subset["ports"] = ports;
        }
        subset
    };
    groups.into_values().map(subset).collect()
}
