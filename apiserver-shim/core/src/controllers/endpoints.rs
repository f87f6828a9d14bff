//! The endpoints controller: one Endpoints object per Service with a selector. EndpointSlices are its successor; Endpoints
//! remain for older clients and leave out Pods that are being deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::access;

use super::{
    Action, CachedObject, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation,
    Target, View, served,
    service_backends::{Backend, TRIGGER_TIME_ANNOTATION, backends, keys_of_pod},
};
use crate::rows::{Pod, Seconds, Service, rfc3339};

/// Maximum number of addresses of an Endpoints object (as upstream).
const ADDRESSES_MAX: usize = 1000;

const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpoint-controller";

/// Maintains Endpoints. Its keys are Services.
pub struct EndpointsController;

impl Controller for EndpointsController {
    const NAME: &'static str = "endpoints-controller";
    const SERVICE_ACCOUNT: &'static str = "endpoint-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Service>(), Input::views::<Pod>(), Input::headers("", "endpoints")]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "pods" => keys_of_pod(change, view, keys),
            resource => {
                let header = change.header();
                let service = ObjectName::new(served("", "services"), &header.namespace, &header.name);
                // A user may create Endpoints before their Service: those of others go only when a Service is deleted.
                let others = || header.labels.get(MANAGED_BY_LABEL).is_none_or(|by| by != MANAGED_BY);
                if resource == "services" || view.named(&service).is_some() || !others() {
                    keys.insert(service);
                }
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let found = view.object(&served("", "endpoints"), &key.key.namespace, &key.key.name);
        let Some(service) = view.get::<Service>(&key.key) else {
            return Plan { actions: found.map(delete).into_iter().collect(), ..Plan::default() };
        };
        let Some(backends) = backends(view, service) else { return Plan::default() };
        plan(service, &backends, found, view.now)
    }
}

/// The Endpoints of a Service that is gone.
fn delete(found: &CachedObject) -> Action {
    let target = Target::of(served("", "endpoints"), found.header());
    Action::Delete { target, propagation: Propagation::Background, grace_seconds: None }
}

/// Plans the changes of a Service's Endpoints.
fn plan(service: &Service, backends: &[Backend<'_>], found: Option<&CachedObject>, now: Seconds) -> Plan {
    let mut plan = Plan::default();
    let header = service.header();
    let subsets = subsets(backends);
    let mut labels = json!(header.labels);
    labels[MANAGED_BY_LABEL] = Value::from(MANAGED_BY);
    if service.is_headless() {
        labels["service.kubernetes.io/headless"] = Value::from("");
    }
    let resource = served("", "endpoints");
    let Some(found) = found else {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": header.name,
                "namespace": header.namespace,
                "labels": labels,
                "annotations": {TRIGGER_TIME_ANNOTATION: rfc3339(now)},
            },
        });
        if !subsets.is_empty() {
            object["subsets"] = Value::from(subsets);
        }
        let namespace = header.namespace.clone();
        plan.actions.push(Action::Create { resource, namespace, object });
        return plan;
    };
    let value = found.value();
    let mut changes = Vec::new();
    if access::list(&value, &["subsets"]) != subsets {
        if subsets.is_empty() {
            changes.push(Change::Merge(json!({"subsets": null})));
        } else {
            changes.push(Change::Put(&["subsets"], Value::from(subsets)));
        }
        changes.push(Change::Merge(
            json!({"metadata": {"annotations": {TRIGGER_TIME_ANNOTATION: rfc3339(now)}}}),
        ));
    }
    if value["metadata"]["labels"] != labels {
        changes.push(Change::Put(&["metadata", "labels"], labels));
    }
    if !changes.is_empty() {
        plan.actions.push(Action::Change {
            target: Target::of(resource, found.header()),
            subresource: None,
            changes,
        });
    }
    plan
}

fn subsets(backends: &[Backend<'_>]) -> Vec<Value> {
    type Group = (Value, Vec<Value>, Vec<Value>);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let included = backends.iter().filter(|e| e.publish_not_ready || !e.terminating());
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

#[cfg(test)]
#[path = "endpoints/tests.rs"]
mod tests;
