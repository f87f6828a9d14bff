//! PersistentVolumes.

pub(super) mod validation;

pub(super) use validation::{driver_name, inline as inline_volume};

use super::rules::Site;
use super::{CreateContext, Strategy, cells, pod_template, warnings};
use crate::rows::CLASS_ANNOTATION;
use serde_json::Value;
use shim_model::access::{self, set_default, set_if_zero};
use shim_model::field::FieldError;
use shim_model::time::Instant;

pub(super) struct PersistentVolume;

/// Annotations that a member replaced, and the warning.
const DEPRECATED_ANNOTATIONS: [(&str, &str); 2] = [
    (CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
    (
        "volume.beta.kubernetes.io/mount-options",
        "deprecated since v1.31; use \"mountOptions\" attribute instead",
    ),
];

/// Sources of volumes: the member, its name in the warning, since when it is deprecated, and when it ended.
const DEPRECATED_SOURCES: [(&str, &str, &str, &str); 6] = [
    ("cephfs", "cephfs", "1.28", "1.31"),
    ("photonPersistentDisk", "photonPersistentDisk", "1.11", "1.16"),
    ("scaleIO", "scaleIO", "1.16", "1.22"),
    ("storageos", "storageOS", "1.22", "1.25"),
    ("glusterfs", "glusterfs", "1.25", "1.26"),
    ("rbd", "rbd", "1.28", "1.31"),
];

impl Strategy for PersistentVolume {
    fn returns_deleted_object(&self) -> bool {
        true
    }

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

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let annotated = |(key, why): &(&str, &str)| {
            access::get(object, &["metadata", "annotations", key])?;
            Some(format!("metadata.annotations[{key}]: {why}"))
        };
        let mut out: Vec<String> = DEPRECATED_ANNOTATIONS.iter().filter_map(annotated).collect();
        if access::text(object, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
            out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let root = Site::root(object);
        let site = root.at("spec");
        let affinity = site.at("nodeAffinity");
        let required = affinity.at("required");
        let terms = required.at("nodeSelectorTerms");
        terms.items().for_each(|term| warnings::node_selector_term(&term, false, &mut out));
        let spec = &object["spec"];
        let sources =
            DEPRECATED_SOURCES.iter().filter(|(name, ..)| spec.get(name).is_some_and(|s| !s.is_null()));
        out.extend(sources.map(|(_, shown, since, end)| {
            format!("spec.{shown}: deprecated in v{since}, non-functional in v{end}+")
        }));
        out
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
}

/// The class of a volume or claim: an old annotation precedes the field.
pub(super) fn class(object: &Value) -> &str {
    match access::text(object, &["metadata", "annotations", CLASS_ANNOTATION]) {
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
