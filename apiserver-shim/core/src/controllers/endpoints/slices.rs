//! EndpointSlices: at most a hundred endpoints each; one that stays keeps its slice, so that a change touches few objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{Endpoint, Snapshot, is_headless};
use crate::{
    controllers::{Action, Change, Plan, Propagation, Target, served},
    rows::{controller_reference, rfc3339},
};

/// Endpoints in one slice at most.
pub const SLICE_MAX: usize = 100;
/// The value of the label that marks a slice as ours.
pub const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

struct Slice<'a> {
    found: Option<(&'a Header, &'a Value)>,
    endpoints: Vec<Value>,
    /// Nothing is in it, and another says so.
    superfluous: bool,
}

pub(super) fn plan(snapshot: &Snapshot<'_>, behind: &[Endpoint<'_>], plan: &mut Plan) {
    let mut groups: BTreeMap<String, (Value, Vec<&Endpoint<'_>>)> = BTreeMap::new();
    for endpoint in behind {
        groups
            .entry(endpoint.ports.to_string())
            .or_insert_with(|| (endpoint.ports.clone(), Vec::new()))
            .1
            .push(endpoint);
    }
    if groups.is_empty() {
        // One empty slice says that nothing stands behind the Service.
        groups.insert(String::new(), (Value::Null, Vec::new()));
    }
    let mut unused: Vec<(&Header, &Value)> = snapshot.slices.clone();
    unused.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    unused.retain(|(header, _)| header.deletion_timestamp.is_none());
    for (ports, endpoints) in groups.into_values() {
        let ports_of = |value: &Value| value.get("ports").cloned().unwrap_or(Value::Null);
        let (same, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(|(_, v)| ports_of(v) == ports);
        unused = rest;
        for slice in distribute(snapshot, &endpoints, same) {
            emit(snapshot, &ports, slice, plan);
        }
    }
    for (header, _) in unused {
        plan.actions.push(delete(header));
    }
}

fn distribute<'a>(
    snapshot: &Snapshot<'_>,
    endpoints: &[&Endpoint<'_>],
    found: Vec<(&'a Header, &'a Value)>,
) -> Vec<Slice<'a>> {
    let mut wanted: BTreeMap<&str, Value> =
        endpoints.iter().map(|e| (e.pod.uid(), endpoint(snapshot, e))).collect();
    let mut slices: Vec<Slice<'a>> = Vec::new();
    for (header, value) in found {
        let kept = access::list(value, &["endpoints"])
            .iter()
            .filter_map(|old| wanted.remove(access::text(old, &["targetRef", "uid"])))
            .collect();
        slices.push(Slice { found: Some((header, value)), endpoints: kept, superfluous: false });
    }
    let mut new = endpoints.iter().filter_map(|e| wanted.remove(e.pod.uid())).peekable();
    for slice in &mut slices {
        while slice.endpoints.len() < SLICE_MAX
            && let Some(endpoint) = new.next()
        {
            slice.endpoints.push(endpoint);
        }
    }
    while new.peek().is_some() {
        let endpoints = new.by_ref().take(SLICE_MAX).collect();
        slices.push(Slice { found: None, endpoints, superfluous: false });
    }
    if slices.is_empty() {
        slices.push(Slice { found: None, endpoints: Vec::new(), superfluous: false });
    }
    // Empty ones go, but for the first of a Service behind which nothing stands.
    let spare = usize::from(endpoints.is_empty());
    slices.iter_mut().filter(|s| s.endpoints.is_empty()).skip(spare).for_each(|s| s.superfluous = true);
    slices
}

fn endpoint(snapshot: &Snapshot<'_>, endpoint: &Endpoint<'_>) -> Value {
    let mut value = json!({
        "addresses": [endpoint.ip],
        "conditions": {
            "ready": endpoint.ready(),
            "serving": endpoint.pod.is_ready(),
            "terminating": endpoint.terminating(),
        },
        "targetRef": endpoint.reference(),
    });
    if let Some(node) = &endpoint.pod.node {
        value["nodeName"] = Value::from(&**node);
    }
    if let (Some(hostname), Some(subdomain)) = (&endpoint.pod.hostname, &endpoint.pod.subdomain)
        && **subdomain == *snapshot.header.name
    {
        value["hostname"] = Value::from(&**hostname);
    }
    value
}

fn emit(snapshot: &Snapshot<'_>, ports: &Value, slice: Slice<'_>, plan: &mut Plan) {
    let resource = served("discovery.k8s.io", "endpointslices");
    let labels = labels(snapshot);
    let now = rfc3339(snapshot.now);
    let Some((header, value)) = slice.found else {
        let namespace = snapshot.header.namespace.clone();
        let mut object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", snapshot.header.name),
                "namespace": namespace,
                "labels": labels,
                "annotations": {TRIGGER: now},
                "ownerReferences": [controller_reference("v1", "Service", snapshot.header)],
            },
            "addressType": "IPv4",
            "endpoints": slice.endpoints,
        });
        if !ports.is_null() {
            object["ports"] = ports.clone();
        }
        plan.actions.push(Action::Create { resource, namespace, object });
        return;
    };
    if slice.superfluous {
        plan.actions.push(delete(header));
        return;
    }
    let mut changes = Vec::new();
    if access::list(value, &["endpoints"]) != slice.endpoints {
        changes.push(Change::Put(&["endpoints"], Value::from(slice.endpoints)));
        changes.push(Change::Merge(json!({"metadata": {"annotations": {TRIGGER: now}}})));
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

fn delete(header: &Header) -> Action {
    let target = Target::of(served("discovery.k8s.io", "endpointslices"), header);
    Action::Delete { target, propagation: Propagation::Background, grace_seconds: None }
}

fn labels(snapshot: &Snapshot<'_>) -> Value {
    let mut labels = json!(snapshot.header.labels);
    labels["kubernetes.io/service-name"] = Value::from(snapshot.header.name.as_str());
    labels["endpointslice.kubernetes.io/managed-by"] = Value::from(MANAGED_BY);
    if is_headless(snapshot.value) {
        labels["service.kubernetes.io/headless"] = Value::from("");
    }
    labels
}
