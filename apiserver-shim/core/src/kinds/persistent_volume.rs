//! PersistentVolumes.

pub(super) mod validation;

pub(super) use validation::driver_name;

use super::{CreateContext, FieldName, Strategy, cells, named, pod_template};
use serde_json::Value;
use shim_model::access::{self, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct PersistentVolume;

/// The annotation that has the class of volumes from before `spec.storageClassName`.
pub(super) const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        set_if_zero(access::object_mut(object, &["status"]), "phase", "Pending");
        let spec = access::object_mut(object, &["spec"]);
        set_if_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_default(spec, "volumeMode", "Filesystem");
        pod_template::default_rare_volume(spec);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, context: &CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        status.insert("phase".into(), "Pending".into());
        status.insert("lastPhaseTransitionTime".into(), context.now.to_rfc3339().into());
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validation::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        validation::change(new, old)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let text = |path: &[&str]| Value::from(access::text(object, path));
        let claim = |key: &str| access::text(object, &["spec", "claimRef", key]);
        let claimed = match access::get(object, &["spec", "claimRef"]) {
            None => String::new(),
            Some(_) => format!("{}/{}", claim("namespace"), claim("name")),
        };
        let phase = match access::text(object, &["metadata", "deletionTimestamp"]) {
            "" => access::text(object, &["status", "phase"]),
            _ => "Terminating",
        };
        vec![
            cells::name(object),
            text(&["spec", "capacity", "storage"]),
            modes(access::list(object, &["spec", "accessModes"])).into(),
            text(&["spec", "persistentVolumeReclaimPolicy"]),
            phase.into(),
            claimed.into(),
            class(object).into(),
            cells::or(access::text(object, &["spec", "volumeAttributesClassName"]), "<unset>").into(),
            text(&["status", "reason"]),
            cells::age(object, now),
            cells::or(access::text(object, &["spec", "volumeMode"]), "<unset>").into(),
        ]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        named([("name", access::text(object, &["metadata", "name"]).to_owned())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["name"]
    }
}

/// The class of a volume or claim: an old annotation precedes the field.
pub(super) fn class(object: &Value) -> &str {
    match access::text(object, &["metadata", "annotations", CLASS]) {
        "" => access::text(object, &["spec", "storageClassName"]),
        class => class,
    }
}

/// Access modes as short names, in upstream's order, each once.
pub(super) fn modes(modes: &[Value]) -> String {
    const NAMES: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    let shown: Vec<&str> = NAMES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}
