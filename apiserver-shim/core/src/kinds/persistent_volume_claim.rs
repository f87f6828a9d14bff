//! PersistentVolumeClaims.

pub(super) mod validation;

pub(super) use validation::{VOLUME_MODES, access_modes, claim_template, class as class_name, is_positive};

use super::persistent_volume::{class, modes};
use super::rules::{self, Rule, Site};
use super::{CreateContext, Strategy, cells, warnings};
use crate::rows::CLASS_ANNOTATION;
use serde_json::Value;
use shim_model::access::{self, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct PersistentVolumeClaim;

/// Sets the defaults of a claim, or of a claim template.
pub(super) fn default_claim(claim: &mut Value) {
    set_if_zero(access::object_mut(claim, &["status"]), "phase", "Pending");
    set_default(access::object_mut(claim, &["spec"]), "volumeMode", "Filesystem");
}

impl Strategy for PersistentVolumeClaim {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        default_claim(object);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        access::object_mut(object, &["status"]).insert("phase".into(), "Pending".into());
        drop_disabled_fields(object, None);
        drop_unknown_source(access::object_mut(object, &["spec"]));
        same_data_source(access::object_mut(object, &["spec"]));
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if access::get(new, &["metadata", "annotations", CLASS_ANNOTATION]).is_some() {
            out.push(format!("metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"));
        }
        warnings::claim_spec(&Site::root(new).at("spec"), &mut out);
        out
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::change(new, old)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        rules::validate(&[Rule::Within("status", validation::STATUS)], new)
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        drop_disabled_fields(new, Some(old));
        let spec = access::object_mut(new, &["spec"]);
        // What an older server has accepted stays.
        if ["dataSource", "dataSourceRef"].iter().all(|source| old["spec"].get(source).is_none()) {
            drop_unknown_source(spec);
        }
        same_data_source(spec);
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let phase = match access::text(object, &["metadata", "deletionTimestamp"]) {
            "" => access::text(object, &["status", "phase"]),
            _ => "Terminating",
        };
        let volume = access::text(object, &["spec", "volumeName"]);
        let (capacity, modes) = match volume {
            "" => ("", String::new()),
            _ => (
                cells::or(access::text(object, &["status", "capacity", "storage"]), "0"),
                modes(access::list(object, &["status", "accessModes"])),
            ),
        };
        vec![
            cells::name(object),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(object).into(),
            cells::or(access::text(object, &["spec", "volumeAttributesClassName"]), "<unset>").into(),
            cells::age(object, now),
            cells::or(access::text(object, &["spec", "volumeMode"]), "<unset>").into(),
        ]
    }
}

/// A reference to another namespace is dropped, because the feature CrossNamespaceVolumeDataSource is off by default.
fn drop_disabled_fields(claim: &mut Value, old: Option<&Value>) {
    const REFERENCE: [&str; 2] = ["spec", "dataSourceRef"];
    let elsewhere = |claim: &Value| {
        access::get(claim, &REFERENCE).is_some_and(|r| !access::text(r, &["namespace"]).is_empty())
    };
    if elsewhere(claim) && !old.is_some_and(elsewhere) {
        access::remove(claim, &REFERENCE);
    }
}

/// `dataSource` names a claim or a snapshot; whoever wants another source sets `dataSourceRef`.
fn drop_unknown_source(spec: &mut serde_json::Map<String, Value>) {
    let known = [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")];
    let is_known = spec.get("dataSource").is_some_and(|source| {
        known.contains(&(access::text(source, &["apiGroup"]), access::text(source, &["kind"])))
    });
    if !is_known && !spec.contains_key("dataSourceRef") {
        spec.remove("dataSource");
    }
}

/// `dataSource` and `dataSourceRef` have the same value unless the latter is in another namespace.
fn same_data_source(spec: &mut serde_json::Map<String, Value>) {
    let elsewhere = |source: &Value| !access::text(source, &["namespace"]).is_empty();
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
        (None, Some(reference)) if !elsewhere(&reference) => {
            drop(spec.insert("dataSource".into(), reference))
        }
        _ => {}
    }
}
