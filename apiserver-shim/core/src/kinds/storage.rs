//! Kinds of `storage.k8s.io`.

pub(super) mod validation;

use super::pod::dump;
use super::rules::{self, Rule, Site};
use super::{CreateContext, Strategy, cells, metadata, warnings};
use std::sync::Arc;

use serde_json::{Value, json};
use shim_model::access::{self, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct StorageClass;
pub(super) struct VolumeAttributesClass;
pub(super) struct CsiDriver;
pub(super) struct CsiNode;
pub(super) struct CsiStorageCapacity;
pub(super) struct VolumeAttachment;

/// The strategy of a kind of this group.
pub(super) fn builtin(kind: &str) -> Arc<dyn Strategy> {
    match kind {
        "StorageClass" => Arc::new(StorageClass),
        "VolumeAttributesClass" => Arc::new(VolumeAttributesClass),
        "CSIDriver" => Arc::new(CsiDriver),
        "CSINode" => Arc::new(CsiNode),
        "CSIStorageCapacity" => Arc::new(CsiStorageCapacity),
        "VolumeAttachment" => Arc::new(VolumeAttachment),
        other => super::unknown(other),
    }
}

impl Strategy for StorageClass {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let object = access::as_object(object);
        set_default(object, "reclaimPolicy", "Delete");
        set_default(object, "volumeBindingMode", "Immediate");
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let (root, mut out) = (Site::root(new), Vec::new());
        for term in root.at("allowedTopologies").items() {
            for expression in term.at("matchLabelExpressions").items() {
                let key = expression.at("key");
                out.extend(warnings::deprecated_label(key.text()).map(|why| format!("{key}: {why}")));
            }
        }
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(validation::CLASS, object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::class_change(new, old)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let is_default =
            default.iter().any(|key| access::text(object, &["metadata", "annotations", key]) == "true");
        let name = access::text(object, &["metadata", "name"]);
        let shown = if is_default { format!("{name} (default)") } else { name.to_owned() };
        let or_unset = |key: &str| Value::from(cells::or(access::text(object, &[key]), "<unset>"));
        vec![
            shown.into(),
            access::text(object, &["provisioner"]).into(),
            or_unset("reclaimPolicy"),
            or_unset("volumeBindingMode"),
            access::flag(object, &["allowVolumeExpansion"]).into(),
            cells::age(object, now),
        ]
    }
}

impl Strategy for VolumeAttributesClass {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(validation::ATTRIBUTES_CLASS, object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::from_iter(validation::fixed(new, old, &["driverName", "parameters"]));
        errors.extend(self.validate_create(new));
        errors
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let key = "volumeattributesclass.alpha.kubernetes.io/is-default-class";
        let name = access::text(object, &["metadata", "name"]);
        let default = access::text(object, &["metadata", "annotations", key]) == "true";
        let shown = if default { format!("{name} (default)") } else { name.to_owned() };
        vec![shown.into(), access::text(object, &["driverName"]).into(), cells::age(object, now)]
    }
}

impl Strategy for CsiDriver {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let spec = access::object_mut(object, &["spec"]);
        set_default(spec, "attachRequired", true);
        set_default(spec, "podInfoOnMount", false);
        set_default(spec, "storageCapacity", false);
        set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        set_if_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
        set_default(spec, "requiresRepublish", false);
        set_default(spec, "seLinuxMount", false);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn begins_generation(&self) -> bool {
        false
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let tokens = |driver| access::list(driver, &["spec", "tokenRequests"]);
        let changed = old.is_none_or(|old| tokens(old) != tokens(new));
        let unset = access::get(new, &["spec", "serviceAccountTokenInSecrets"]).is_none();
        let text = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
        Vec::from_iter((changed && unset && !tokens(new).is_empty()).then(|| text.to_owned()))
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::DRIVER)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::driver_change(new, old)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let flag = |key: &str| Value::from(access::flag(object, &["spec", key]));
        let modes = access::list(object, &["spec", "volumeLifecycleModes"]).iter();
        let modes: Vec<&str> = modes.filter_map(Value::as_str).collect();
        let audiences = access::list(object, &["spec", "tokenRequests"]).iter();
        let audiences: Vec<&str> = audiences.map(|r| access::text(r, &["audience"])).collect();
        let shown = if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") };
        let modes = if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") };
        vec![
            cells::name(object),
            flag("attachRequired"),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            shown.into(),
            flag("requiresRepublish"),
            modes.into(),
            cells::age(object, now),
        ]
    }
}

impl Strategy for CsiNode {
    fn lists_stored_as_null(&self) -> &'static [&'static [&'static str]] {
        &[&["spec", "drivers"]]
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("spec", validation::NODE)], object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::node_change(new, old)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let drivers = access::list(object, &["spec", "drivers"]).len();
        vec![cells::name(object), drivers.into(), cells::age(object, now)]
    }
}

impl Strategy for CsiStorageCapacity {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let (root, mut out) = (Site::root(new), Vec::new());
        warnings::node_labels(&root.at("nodeTopology"), &mut out);
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(validation::CAPACITY, object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        errors.extend(rules::immutable(new, old, &["nodeTopology", "storageClassName"]));
        errors
    }

    fn cells(&self, object: &Value, _now: Instant) -> Vec<Value> {
        cells::name_and_creation(object)
    }
}

impl Strategy for VolumeAttachment {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        access::object_mut(object, &["status"]).insert("attached".into(), false.into());
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(validation::ATTACHMENT, object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(new);
        if new["spec"] != old["spec"] {
            let shown = dump::compact("VolumeAttachmentSpec", &new["spec"]);
            errors.push(FieldError::invalid_shown("spec", shown, "field is immutable"));
        }
        errors
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
        metadata::restore(new, old);
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let text = |path: &[&str]| Value::from(access::text(object, path));
        vec![
            cells::name(object),
            text(&["spec", "attacher"]),
            text(&["spec", "source", "persistentVolumeName"]),
            text(&["spec", "nodeName"]),
            access::flag(object, &["status", "attached"]).into(),
            cells::age(object, now),
        ]
    }
}
