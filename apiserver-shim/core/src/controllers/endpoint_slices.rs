//! The EndpointSlice controller: at most 100 endpoints per slice. An endpoint stays in its slice, so that a change of one Pod
//! rewrites one slice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{
    Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target, View,
    served,
    service_backends::{
        Backend, MANAGED_BY_LABEL, SERVICE_NAME_LABEL, TRIGGER_TIME_ANNOTATION, backends, keys_of_pod,
    },
};
use crate::rows::{LabelSelector, Pod, Seconds, Service, controller_reference, rfc3339};

/// Maximum number of endpoints per slice (upstream's default).
pub const SLICE_MAX: usize = 100;
/// The value of [`MANAGED_BY_LABEL`] on the slices of this controller.
pub const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// Maintains EndpointSlices. Its keys are Services.
pub struct EndpointSliceController;

impl Controller for EndpointSliceController {
    const NAME: &'static str = "endpointslice-controller";
    const SERVICE_ACCOUNT: &'static str = "endpointslice-controller";

    fn inputs(&self) -> Vec<Input> {
        let slices = Input::headers_by_labels("discovery.k8s.io", "endpointslices");
        vec![Input::views::<Service>(), Input::views::<Pod>(), slices]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        match change.resource.resource() {
            "pods" => keys_of_pod(change, view, keys),
            "services" => {
                keys.insert(change.name());
            }
            _ => {
                let services = served("", "services");
                for slice in change.headers() {
                    let service = slice.labels.get(SERVICE_NAME_LABEL);
                    keys.extend(
                        service.map(|name| ObjectName::new(services.clone(), &slice.namespace, name)),
                    );
                }
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let Some(service) = view.get::<Service>(&key.key) else { return Plan::default() };
        let Some(backends) = backends(view, service) else { return Plan::default() };
        let ours =
            LabelSelector::labels([(SERVICE_NAME_LABEL, &*key.key.name), (MANAGED_BY_LABEL, MANAGED_BY)]);
        let resource = served("discovery.k8s.io", "endpointslices");
        let slices = view.matching_objects(&resource, &key.key.namespace, &ours).into_iter();
        let slices = slices.map(|slice| (slice.header(), slice.value())).collect();
        plan(&Snapshot { service, slices, now: view.now }, &backends)
    }
}

/// A Service and its slices.
struct Snapshot<'a> {
    service: &'a Service,
    slices: Vec<(&'a Header, Value)>,
    now: Seconds,
}

/// A slice: the stored one and the desired endpoints.
struct Slice<'a> {
    found: Option<(&'a Header, &'a Value)>,
    endpoints: Vec<Value>,
    /// Whether to delete it: it is empty, and another slice of the Service remains.
    superfluous: bool,
}

/// Plans the changes of a Service's EndpointSlices.
fn plan(snapshot: &Snapshot<'_>, backends: &[Backend<'_>]) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<String, (Value, Vec<&Backend<'_>>)> = BTreeMap::new();
    for endpoint in backends {
        groups
            .entry(endpoint.ports.to_string())
            .or_insert_with(|| (endpoint.ports.clone(), Vec::new()))
            .1
            .push(endpoint);
    }
    if groups.is_empty() {
        // A Service without backends has one empty slice.
        groups.insert(String::new(), (Value::Null, Vec::new()));
    }
    let mut unused: Vec<(&Header, &Value)> =
        snapshot.slices.iter().map(|(header, value)| (*header, value)).collect();
    unused.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    unused.retain(|(header, _)| header.deletion_timestamp.is_none());
    for (ports, endpoints) in groups.into_values() {
        let ports_of = |value: &Value| value.get("ports").cloned().unwrap_or(Value::Null);
        let (same, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(|(_, v)| ports_of(v) == ports);
        unused = rest;
        for slice in distribute(snapshot, &endpoints, same) {
            emit(snapshot, &ports, slice, &mut plan);
        }
    }
    for (header, _) in unused {
        plan.actions.push(delete(header));
    }
    plan
}

fn distribute<'a>(
    snapshot: &Snapshot<'_>,
    endpoints: &[&Backend<'_>],
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
    // Delete empty slices, but keep one for a Service without backends.
    let spare = usize::from(endpoints.is_empty());
    slices.iter_mut().filter(|s| s.endpoints.is_empty()).skip(spare).for_each(|s| s.superfluous = true);
    slices
}

fn endpoint(snapshot: &Snapshot<'_>, endpoint: &Backend<'_>) -> Value {
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
        && **subdomain == *snapshot.service.header().name
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
        let namespace = snapshot.service.header().namespace.clone();
        let mut object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", snapshot.service.header().name),
                "namespace": namespace,
                "labels": labels,
                "annotations": {TRIGGER_TIME_ANNOTATION: now},
                "ownerReferences": [controller_reference("v1", "Service", snapshot.service.header())],
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
        changes.push(Change::Merge(json!({"metadata": {"annotations": {TRIGGER_TIME_ANNOTATION: now}}})));
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
    let mut labels = json!(snapshot.service.header().labels);
    labels[SERVICE_NAME_LABEL] = Value::from(snapshot.service.header().name.as_str());
    labels[MANAGED_BY_LABEL] = Value::from(MANAGED_BY);
    if snapshot.service.is_headless() {
        labels["service.kubernetes.io/headless"] = Value::from("");
    }
    labels
}
