//! Kinds of `resource.k8s.io` (dynamic resource allocation).

pub mod privileges;
pub(super) mod validation;

use super::pod::dump;
use super::rules::{self, Rule, Site};
use super::{FieldName, Strategy, cells, metadata, named};
use std::sync::Arc;

use serde_json::Value;
use shim_model::access::{self, as_object, set_if_zero};
use shim_model::field::FieldError;
use shim_model::go_quote::go_quote;
use shim_model::time::Instant;

pub(super) struct DeviceClass;
pub(super) struct ResourceClaim;
pub(super) struct ResourceClaimTemplate;
pub(super) struct ResourceSlice;

/// The strategy of a kind of this group.
pub(super) fn builtin(kind: &str) -> Arc<dyn Strategy> {
    match kind {
        "DeviceClass" => Arc::new(DeviceClass),
        "ResourceClaim" => Arc::new(ResourceClaim),
        "ResourceClaimTemplate" => Arc::new(ResourceClaimTemplate),
        "ResourceSlice" => Arc::new(ResourceSlice),
        other => super::unknown(other),
    }
}

impl Strategy for DeviceClass {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::CLASS)], object)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }
}

/// Sets the defaults of a claim's spec.
fn default_claim(spec: &mut Value) {
    for request in access::list_mut(spec, &["devices", "requests"]).into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly") {
            default_request(exactly);
        }
        access::list_mut(request, &["firstAvailable"]).into_iter().flatten().for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    let request = as_object(request);
    set_if_zero(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        set_if_zero(request, "count", 1);
    }
    for toleration in request.get_mut("tolerations").and_then(Value::as_array_mut).into_iter().flatten() {
        set_if_zero(as_object(toleration), "operator", "Equal");
    }
}

impl Strategy for ResourceClaim {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            default_claim(spec);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::CLAIM)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.get("spec") != old.get("spec") {
            let shown = dump::compact("ResourceClaimSpec", &new["spec"]);
            errors.push(FieldError::invalid_shown("spec", shown, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::claim_status(new, old)
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        metadata::restore(new, old);
        drop_released(new, old);
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let allocated = access::get(object, &["status", "allocation"]).is_some();
        let reserved = !access::list(object, &["status", "reservedFor"]).is_empty();
        let deleted = !access::text(object, &["metadata", "deletionTimestamp"]).is_empty();
        let mut states = Vec::new();
        states.extend(deleted.then_some("deleted"));
        match (allocated, reserved) {
            (false, _) if deleted => {}
            (false, _) => states.push("pending"),
            (true, false) => states.push("allocated"),
            (true, true) => states.extend(["allocated", "reserved"]),
        }
        vec![cells::name(object), states.join(",").into(), cells::age(object, now)]
    }
}

/// A device of a claim or of its status, by its driver, pool, name and share.
fn device_id(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|member| access::text(device, &[member]))
}

/// Removes the status of the devices that the claim has no longer.
fn drop_released(new: &mut Value, old: &Value) {
    const RESULTS: [&str; 4] = ["status", "allocation", "devices", "results"];
    let now: Vec<[String; 4]> = ids(access::list(new, &RESULTS));
    let mut gone = ids(access::list(old, &RESULTS));
    gone.retain(|id| !now.contains(id));
    let Some(devices) = access::list_mut(new, &["status", "devices"]) else { return };
    devices.retain(|device| !gone.iter().any(|gone| *gone == device_id(device)));
    if devices.is_empty() {
        access::remove(new, &["status", "devices"]);
    }
}

fn ids(devices: &[Value]) -> Vec<[String; 4]> {
    devices.iter().map(|device| device_id(device).map(str::to_owned)).collect()
}

impl Strategy for ResourceClaimTemplate {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").and_then(|spec| spec.get_mut("spec")) {
            default_claim(spec);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let root = Site::root(object);
        let mut errors = Vec::new();
        metadata::template(&root.at("spec").at("metadata"), &mut errors);
        rules::apply(&[Rule::Within("spec", &[Rule::Within("spec", validation::CLAIM)])], &root, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if new.get("spec") != old.get("spec") {
            let shown = dump::template_of("ResourceClaimSpec", &new["spec"], &new["spec"]["spec"]);
            errors.push(FieldError::invalid_shown("spec", shown, "field is immutable"));
        }
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }
}

/// Drops members of features that are off: they are accepted and not stored.
fn drop_disabled_fields(slice: &mut Value) {
    for device in access::list_mut(slice, &["spec", "devices"]).into_iter().flatten() {
        access::remove(device, &["nodeAllocatableResourceMappings"]);
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|all| all.values_mut()) {
            for list in ["bools", "ints", "strings", "versions"] {
                access::remove(attribute, &[list]);
            }
        }
    }
}

impl Strategy for ResourceSlice {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        drop_disabled_fields(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        drop_disabled_fields(new);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let driver = access::text(new, &["spec", "driver"]);
        let quoted = go_quote(driver);
        let text =
            format!("spec.driver: driver names should be lowercase; {quoted} contains uppercase characters");
        Vec::from_iter((driver != driver.to_lowercase()).then_some(text))
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(
            &[Rule::Within("spec", validation::SLICE_DRIVER), Rule::Within("spec", validation::SLICE)],
            object,
        )
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = rules::validate(&[Rule::Within("spec", validation::SLICE_DRIVER)], new);
        errors.extend(rules::immutable(new, old, &["spec.pool.name", "spec.driver", "spec.nodeName"]));
        errors.extend(rules::validate(&[Rule::Within("spec", validation::SLICE)], new));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![
            cells::name(object),
            access::text(object, &["spec", "nodeName"]).into(),
            access::text(object, &["spec", "driver"]).into(),
            access::text(object, &["spec", "pool", "name"]).into(),
            cells::age(object, now),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        let of = |key: &str| access::text(object, &["spec", key]).to_owned();
        named([("spec.nodeName", of("nodeName")), ("spec.driver", of("driver"))])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["spec.nodeName", "spec.driver"]
    }

    fn unknown_selector(&self, field: &str) -> Option<String> {
        Some(format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}"))
    }
}
