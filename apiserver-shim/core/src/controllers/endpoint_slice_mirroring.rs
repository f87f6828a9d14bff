//! The EndpointSlice mirroring controller: Endpoints that a user keeps for a Service without selector get EndpointSlices,
//! because clients read those only. One slice per address family and set of ports.

mod groups;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{
    Action, Change, Controller, EventRecord, EventSource, Input, Keys, ObjectChange, ObjectName, Plan,
    Propagation, Target, View, served,
    service_backends::{MANAGED_BY_LABEL, SERVICE_NAME_LABEL, TRIGGER_TIME_ANNOTATION},
};
use crate::rows::{LabelSelector, Service, controller_reference};
use groups::{Group, GroupKey, groups};

/// The value of [`MANAGED_BY_LABEL`] on the slices of this controller.
const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
/// A label of Endpoints that are not to be mirrored, if it is `true`.
const SKIP_MIRROR_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints with this annotation are the lock of a leader election.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations of Endpoints that their slices do not get.
const OWN_ANNOTATIONS: [&str; 2] =
    [TRIGGER_TIME_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"];
const COMPONENT: &str = "endpoint-slice-mirroring-controller";

/// Mirrors Endpoints. Its keys are Endpoints.
pub struct EndpointSliceMirroringController;

impl Controller for EndpointSliceMirroringController {
    const NAME: &'static str = "endpointslice-mirroring-controller";
    const SERVICE_ACCOUNT: &'static str = "endpointslicemirroring-controller";

    fn inputs(&self) -> Vec<Input> {
        let slices = Input::headers_by_labels("discovery.k8s.io", "endpointslices");
        vec![Input::views::<Service>(), Input::headers("", "endpoints"), slices]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let endpoints =
            |namespace: &str, name: &str| ObjectName::new(served("", "endpoints"), namespace, name);
        for header in change.headers() {
            if change.resource.resource() != "endpointslices" {
                keys.insert(endpoints(&header.namespace, &header.name));
            } else if header.labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY) {
                let service = header.labels.get(SERVICE_NAME_LABEL);
                keys.extend(service.map(|name| endpoints(&header.namespace, name)));
            }
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let ours =
            LabelSelector::labels([(SERVICE_NAME_LABEL, &*key.key.name), (MANAGED_BY_LABEL, MANAGED_BY)]);
        let resource = served("discovery.k8s.io", "endpointslices");
        let found = view.matching_objects(&resource, &key.key.namespace, &ours).into_iter();
        let mut found: Vec<Found<'_>> =
            found.map(|slice| Found { header: slice.header(), value: slice.value() }).collect();
        found.retain(|slice| slice.header.deletion_timestamp.is_none());
        found.sort_by(|a, b| a.header.name.cmp(&b.header.name));
        let service = view.get::<Service>(&key.key);
        let selected = service.is_none_or(|service| access::get(&service.spec, &["selector"]).is_some());
        let endpoints = view.named(key).filter(|_| !selected).map(|found| (found.header(), found.value()));
        match endpoints.filter(|(header, value)| is_mirrored(header, value)) {
            Some((header, value)) => plan(&Mirrored { header, value }, found),
            None => Plan { actions: found.iter().map(delete).collect(), ..Plan::default() },
        }
    }
}

fn is_mirrored(header: &Header, endpoints: &Value) -> bool {
    header.labels.get(SKIP_MIRROR_LABEL).is_none_or(|skip| skip != "true")
        && access::get(endpoints, &["metadata", "annotations", LEADER_ANNOTATION]).is_none()
}

/// The Endpoints to mirror.
struct Mirrored<'a> {
    header: &'a Header,
    value: Value,
}

/// A slice of this controller.
struct Found<'a> {
    header: &'a Header,
    value: Value,
}

impl Mirrored<'_> {
    fn labels(&self) -> Value {
        let mut labels = json!(self.header.labels);
        labels[SERVICE_NAME_LABEL] = Value::from(&*self.header.name);
        labels[MANAGED_BY_LABEL] = Value::from(MANAGED_BY);
        labels
    }

    fn annotations(&self) -> Value {
        let all = access::entries(&self.value, &["metadata", "annotations"]);
        let copied = all.filter(|(name, _)| !OWN_ANNOTATIONS.contains(name));
        Value::Object(copied.map(|(name, value)| (name.to_owned(), value.clone())).collect())
    }

    fn create(&self, key: &GroupKey, group: &Group) -> Action {
        let namespace = self.header.namespace.clone();
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", self.header.name),
                "namespace": namespace,
                "labels": self.labels(),
                "annotations": self.annotations(),
                "ownerReferences": [controller_reference("v1", "Endpoints", self.header)],
            },
            "addressType": key.family.as_str(),
            "endpoints": group.endpoints,
            "ports": group.ports,
        });
        Action::Create { resource: served("discovery.k8s.io", "endpointslices"), namespace, object }
    }

    /// Makes an existing slice that of a group; `None` if it is that already.
    fn update(&self, slice: &Found<'_>, group: &Group) -> Option<Action> {
        let mut changes = Vec::new();
        let mut has: Vec<&Value> = access::list(&slice.value, &["endpoints"]).iter().collect();
        has.sort_by_key(|endpoint| groups::identity(endpoint));
        if has.len() != group.endpoints.len() || has.iter().zip(&group.endpoints).any(|(a, b)| *a != b) {
            changes.push(Change::Put(&["endpoints"], Value::from(group.endpoints.clone())));
        }
        if access::list(&slice.value, &["ports"]) != group.ports {
            changes.push(Change::Put(&["ports"], Value::from(group.ports.clone())));
        }
        let (labels, annotations) = (self.labels(), self.annotations());
        if slice.value["metadata"]["labels"] != labels {
            changes.push(Change::Put(&["metadata", "labels"], labels));
        }
        if !super::equal_ignoring_empty(&slice.value["metadata"]["annotations"], &annotations) {
            changes.push(Change::Put(&["metadata", "annotations"], annotations));
        }
        if !slice.header.owners.iter().any(|owner| owner.uid == self.header.uid) {
            let stale = slice.header.owners.iter().map(|owner| owner.uid.clone()).collect();
            changes.push(Change::RemoveOwners(stale));
            changes.push(Change::AddOwner(controller_reference("v1", "Endpoints", self.header)));
        }
        let target = Target::of(served("discovery.k8s.io", "endpointslices"), slice.header);
        (!changes.is_empty()).then_some(Action::Change { target, subresource: None, changes })
    }
}

/// Plans the changes of the slices of mirrored Endpoints.
fn plan(endpoints: &Mirrored<'_>, found: Vec<Found<'_>>) -> Plan {
    let mut plan = Plan::default();
    let wanted = groups(&endpoints.value);
    if wanted.skipped > 0 {
        plan.events.push(EventRecord {
            about: Target::of(served("", "endpoints"), endpoints.header),
            warning: true,
            reason: "TooManyAddressesToMirror",
            message: format!(
                "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                groups::ADDRESSES_MAX,
                wanted.skipped
            ),
            source: EventSource::Component(COMPONENT),
        });
    }
    let mut by_key: BTreeMap<GroupKey, Vec<Found<'_>>> = BTreeMap::new();
    for slice in found {
        by_key.entry(GroupKey::of_slice(&slice.value)).or_default().push(slice);
    }
    let mut fresh = Vec::new();
    for (key, group) in &wanted.groups {
        match by_key.get_mut(key).filter(|same| !same.is_empty()) {
            Some(same) => plan.actions.extend(endpoints.update(&same.remove(0), group)),
            None => fresh.push((key, group)),
        }
    }
    // A slice that would be deleted is reused where one of its address family would be created.
    let mut unused: Vec<Found<'_>> = by_key.into_values().flatten().collect();
    for (key, group) in fresh {
        match unused.iter().position(|slice| GroupKey::of_slice(&slice.value).family == key.family) {
            Some(at) => plan.actions.extend(endpoints.update(&unused.remove(at), group)),
            None if endpoints.header.deletion_timestamp.is_some() => {}
            None => plan.actions.push(endpoints.create(key, group)),
        }
    }
    plan.actions.extend(unused.iter().map(delete));
    plan
}

fn delete(slice: &Found<'_>) -> Action {
    let target = Target::of(served("discovery.k8s.io", "endpointslices"), slice.header);
    Action::Delete { target, propagation: Propagation::Background, grace_seconds: None }
}

#[cfg(test)]
#[path = "endpoint_slice_mirroring/tests.rs"]
mod tests;
