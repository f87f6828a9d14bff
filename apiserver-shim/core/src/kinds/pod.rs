//! Pods: validation of creates and updates, table columns, deletion.

mod annotations;
mod columns;
pub(super) mod dump;
mod fields;
mod line_diff;
mod prepare;
mod qos;
mod restarts;
mod update;

pub use qos::qos_class;
pub use restarts::{may_restart, may_restart_all};

use super::pod_template::{SpecOf, default_spec, drop_disabled_fields, round_status, validate_spec};
use super::rules::Site;
use super::{CreateContext, FieldName, Grace, Strategy, SubresourceStrategy, named, warnings};
use crate::pod_resources::{self, Side};
use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default};
use shim_model::field::FieldError;
use shim_model::object::StoredObject;
use shim_model::time::Instant;

/// Grace period in seconds of a Pod without `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;

/// The strategy of Pods.
pub(super) struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        default_spec(spec);
        set_default(spec, "enableServiceLinks", true);
        if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
            for list in ["containers", "initContainers"] {
                spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(host_ports);
            }
        }
        for list in ["containers", "initContainers"] {
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(default_requests);
        }
        default_huge_pages(access::object_mut(object, &["spec"]));
        default_pod_requests(access::object_mut(object, &["spec"]));
        // The period of a template is kept.
        if access::int(object, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|grace| grace < 0) {
            access::object_mut(object, &["spec"]).insert("terminationGracePeriodSeconds".into(), 1.into());
        }
        let status = access::object_mut(object, &["status"]);
        round_status(status);
        same_addresses(status, "podIP", "podIPs");
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, context: &CreateContext<'_>) {
        drop_disabled_fields(object, &["spec"]);
        prepare::match_label_keys(object);
        prepare::apparmor_profiles(object);
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "priority", 0);
        set_default(spec, "preemptionPolicy", "PreemptLowerPriority");
        let qos = qos_class(object);
        let status = access::object_mut(object, &["status"]);
        status.insert("phase".into(), "Pending".into());
        status.insert("qosClass".into(), qos.into());
        prepare::gated_condition(object, context.now);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        access::copy(old, new, &["metadata", "ownerReferences"]);
        if access::text(new, &["status", "qosClass"]).is_empty() {
            access::copy(old, new, &["status", "qosClass"]);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        annotations::validate(object, &mut errors);
        errors.extend(validate_spec(&object["spec"], format_args!("spec"), SpecOf::Pod));
        if access::get(object, &["spec", "ephemeralContainers"]).is_some_and(|e| !access::is_zero(e)) {
            errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
        }
        if access::get(object, &["spec", "schedulingGates"]).is_some_and(|g| !access::is_zero(g))
            && !access::text(object, &["spec", "nodeName"]).is_empty()
        {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden("spec.nodeName", detail));
        }
        annotations::validate_profiles(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        update::validate(new, old)
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        update::validate_status(new, old)
    }

    fn preparation_warnings(&self, new: &Value) -> Vec<String> {
        prepare::apparmor_warnings(new)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            // People seldom change Pods themselves.
            return Vec::new();
        }
        let mut out = Vec::from_iter(warnings::host_name(new, "the Pod's hostname"));
        warnings::pod_spec(&Site::root(new), &mut out);
        out
    }

    fn status_warnings(&self, new: &Value, _old: &Value) -> Vec<String> {
        let (root, mut out) = (Site::root(new), Vec::new());
        let status = root.at("status");
        for list in ["podIPs", "hostIPs"] {
            let list = status.at(list);
            list.items().for_each(|of| warnings::ip(of.at("ip"), of.at("ip").text(), &mut out));
        }
        out
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        columns::cells(object, now)
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let text = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let host_network = if access::flag(spec, &["hostNetwork"]) { "true" } else { "false" };
        named([
            ("spec.nodeName", text(spec, "nodeName")),
            ("spec.restartPolicy", text(spec, "restartPolicy")),
            ("spec.schedulerName", text(spec, "schedulerName")),
            ("spec.serviceAccountName", text(spec, "serviceAccountName")),
            ("spec.hostNetwork", host_network.to_owned()),
            ("status.phase", text(status, "phase")),
            ("status.podIP", text(status, "podIP")),
            ("status.nominatedNodeName", text(status, "nominatedNodeName")),
        ])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec![
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn selectable_stored(&self, object: &StoredObject) -> Option<Vec<(FieldName, String)>> {
        fields::of(object)
    }

    fn subresource(&self, name: &str) -> Option<&dyn SubresourceStrategy> {
        match name {
            "ephemeralcontainers" => Some(&update::EphemeralContainers),
            "resize" => Some(&update::Resize),
            _ => None,
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    /// A Pod that has ended says so beside its cells, so that kubectl can leave it out or grey it.
    fn row_conditions(&self, object: &Value) -> Option<Value> {
        let (reason, message) = match access::text(object, &["status", "phase"]) {
            "Succeeded" => ("Succeeded", "The pod has completed successfully."),
            "Failed" => ("Failed", "The pod failed."),
            _ => return None,
        };
        Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
    }

    fn grace(&self, object: &Value, requested: Option<i64>) -> Option<Grace> {
        let own = access::int(object, &["spec", "terminationGracePeriodSeconds"]);
        let ended = matches!(access::text(object, &["status", "phase"]), "Succeeded" | "Failed");
        let unbound = access::text(object, &["spec", "nodeName"]).is_empty();
        let seconds = match requested.or(own).unwrap_or(GRACE_SECONDS) {
            _ if ended || unbound => 0,
            negative if negative < 0 => 1,
            seconds => seconds,
        };
        Some(Grace { seconds })
    }
}

/// Limits are the default of requests.
fn default_requests(container: &mut Value) {
    let Some(limits) = access::get(container, &["resources", "limits"]).and_then(Value::as_object).cloned()
    else {
        return;
    };
    let requests = access::object_mut(container, &["resources", "requests"]);
    for (name, amount) in limits {
        if !(requests.contains_key(&name)) {
            requests.insert(name, amount);
        }
    }
    if requests.is_empty() {
        access::remove(container, &["resources", "requests"]);
    }
}

/// The limits of huge pages of a Pod with resources of its own: by default those of its containers together, unless it requests some.
fn default_huge_pages(spec: &mut Map<String, Value>) {
    let list = |side: &str| spec.get("resources")?.get(side)?.as_object().filter(|list| !list.is_empty());
    let (requests, limits) = (list("requests").cloned(), list("limits"));
    if requests.is_none() && limits.is_none() {
        return;
    }
    let requests = requests.unwrap_or_default();
    let of_containers = pod_resources::of_containers_alone(&Value::Object(spec.clone()), Side::Limits);
    let missing = of_containers
        .iter()
        .filter(|(name, _)| name.starts_with("hugepages-") && !requests.contains_key(*name));
    for (name, amount) in missing {
        let resources = as_object(spec.entry("resources").or_insert_with(|| json!({})));
        let limits = as_object(resources.entry("limits").or_insert_with(|| json!({})));
        limits.entry(name.to_owned()).or_insert_with(|| amount.to_string().into());
    }
}

/// What a Pod with limits of its own requests: by default as much as its containers together, else its limits.
fn default_pod_requests(spec: &mut Map<String, Value>) {
    const OVERCOMMITTED: [&str; 2] = ["cpu", "memory"];
    let own = spec.get("resources");
    let limits = own.and_then(|own| own.get("limits")).and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    let of_containers = pod_resources::of_containers_alone(&Value::Object(spec.clone()), Side::Requests);
    let resources = as_object(spec.entry("resources").or_insert_with(|| json!({})));
    let requests = as_object(resources.entry("requests").or_insert_with(|| json!({})));
    for (name, amount) in of_containers.iter().filter(|(name, _)| OVERCOMMITTED.contains(name)) {
        requests.entry(name.to_owned()).or_insert_with(|| amount.to_string().into());
    }
    for (name, limit) in limits.iter().filter(|(name, _)| pod_resources::is_pod_level(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    if requests.is_empty() {
        resources.remove("requests");
    }
}

/// With `hostNetwork`, `hostPort` defaults to `containerPort`.
fn host_ports(container: &mut Value) {
    for port in access::list_mut(container, &["ports"]).into_iter().flatten() {
        let number = port["containerPort"].clone();
        access::set_if_zero(access::as_object(port), "hostPort", number);
    }
}

/// Synchronizes the single address with the list of addresses.
fn same_addresses(status: &mut Map<String, Value>, one: &str, many: &str) {
    let single = status.get(one).and_then(Value::as_str).unwrap_or("");
    let list = status.get(many).and_then(Value::as_array);
    let (key, value) = match list.and_then(|list| list.first()).map(|a| access::text(a, &["ip"])) {
        None if !single.is_empty() => (many, json!([{"ip": single}])),
        Some(first) if single.is_empty() => (one, first.into()),
        Some(first) if first != single => (many, json!([{"ip": single}])),
        _ => return,
    };
    status.insert(key.to_owned(), value);
}
