//! Pod specs, in Pods and in templates of workloads. Defaults and warnings are here; validation is in `pod_template/`,
//! one file per part of a spec.

mod affinity;
mod containers;
mod image_reference;
mod mounts;
mod ports;
mod probes;
mod resources;
mod rounding;
mod security;
mod spec;
mod volumes;
mod windows;

pub(super) use affinity::{validate_node_selector, validate_tolerations};
pub(super) use resources::{is_extended, validate_overhead};
pub(super) use rounding::{round_list, round_spec, round_status};
pub(super) use spec::{SpecOf, validate_spec, validate_template};

use super::{Strategy, cells, metadata, warnings};
use serde_json::{Map, Value, json};
use shim_model::access::{self, as_object, set_default, set_if_zero};
use shim_model::field::{At, FieldError};
use shim_model::time::Instant;

/// Default mode of files from the API: 0644.
const FILE_MODE: i64 = 0o644;

pub(super) struct PodTemplate;

impl Strategy for PodTemplate {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        default_template(access::object_mut(object, &["template"]));
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        new.get("template") != old.get("template")
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        validate_template(&object["template"], format_args!("template"))
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        drop_disabled_fields(object, &["template", "spec"]);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        drop_disabled_fields(new, &["template", "spec"]);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        warnings::template_warnings(new, old, "template", &mut out);
        out
    }

    fn cells(&self, object: &Value, _now: Instant) -> Vec<Value> {
        let (names, images) = cells::containers(access::get(object, &["template", "spec"]));
        let labels = cells::labels(access::get(object, &["template", "metadata", "labels"]));
        vec![cells::name(object), names.into(), images.into(), labels.into()]
    }
}

/// Sets the defaults of a pod template.
pub(super) fn default_template(template: &mut Map<String, Value>) {
    as_object(template.entry("metadata").or_insert_with(|| json!({})));
    default_spec(as_object(template.entry("spec").or_insert_with(|| json!({}))));
}

/// Drops fields of features that are off by default from the Pod spec at `path`, as upstream does: they are accepted, belong to
/// their field manager, and are not stored.
pub(super) fn drop_disabled_fields(object: &mut Value, path: &[&str]) {
    if access::get(object, path).is_none() {
        return;
    }
    let spec = access::object_mut(object, path);
    spec.remove("schedulingGroup");
    for list in ["containers", "initContainers"] {
        for container in objects(spec.get_mut(list)) {
            let Some(lifecycle) = member(container, "lifecycle") else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.remove("lifecycle");
            }
        }
    }
}

/// Sets the defaults of a pod spec.
pub(super) fn default_spec(spec: &mut Map<String, Value>) {
    set_if_zero(spec, "dnsPolicy", "ClusterFirst");
    set_if_zero(spec, "restartPolicy", "Always");
    set_if_zero(spec, "schedulerName", "default-scheduler");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "securityContext", Map::new());
    same_service_account(spec);
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        let ephemeral = key == "ephemeralContainers";
        for container in objects(spec.get_mut(key)) {
            default_container(container, ephemeral);
        }
    }
    objects(spec.get_mut("volumes")).for_each(default_volume);
    round_spec(spec);
}

/// Synchronizes `serviceAccount` (deprecated) with `serviceAccountName`.
fn same_service_account(spec: &mut Map<String, Value>) {
    let named = |spec: &Map<String, Value>, key: &str| spec.get(key).filter(|v| !access::is_zero(v)).cloned();
    if let Some(name) = named(spec, "serviceAccountName").or_else(|| named(spec, "serviceAccount")) {
        spec.insert("serviceAccountName".into(), name.clone());
        spec.insert("serviceAccount".into(), name);
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn member<'a>(object: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

fn default_container(container: &mut Map<String, Value>, ephemeral: bool) {
    set_if_zero(container, "terminationMessagePath", "/dev/termination-log");
    set_if_zero(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", Map::new());
    if container.get("imagePullPolicy").is_none_or(access::is_zero) {
        let image = container.get("image").and_then(Value::as_str).unwrap_or("");
        container.insert("imagePullPolicy".into(), pull_policy(image).into());
    }
    for port in objects(container.get_mut("ports")) {
        set_if_zero(port, "protocol", "TCP");
    }
    for env in objects(container.get_mut("env")) {
        if let Some(source) = member(env, "valueFrom") {
            default_downward(source);
            if let Some(file) = member(source, "fileKeyRef") {
                set_default(file, "optional", false);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = member(container, probe).filter(|_| !ephemeral) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = member(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = member(lifecycle, hook) {
                default_handler(hook);
            }
        }
    }
    if let Some(security) = member(container, "securityContext").filter(|s| s.contains_key("procMount")) {
        set_if_zero(security, "procMount", "Default");
    }
}

/// The default pull policy: `Always` for `:latest` or no tag, otherwise `IfNotPresent`.
fn pull_policy(image: &str) -> &'static str {
    // Upstream does not find a tag in what is no reference.
    if image.contains('@') || !image_reference::is_valid(image) {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest" | "")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn default_downward(source: &mut Map<String, Value>) {
    if let Some(field) = member(source, "fieldRef") {
        set_if_zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = member(source, "resourceFieldRef") {
        set_if_zero(resource, "divisor", "0");
    }
}

fn default_probe(probe: &mut Map<String, Value>) {
    set_if_zero(probe, "timeoutSeconds", 1);
    set_if_zero(probe, "periodSeconds", 10);
    set_if_zero(probe, "successThreshold", 1);
    set_if_zero(probe, "failureThreshold", 3);
    default_handler(probe);
    if let Some(grpc) = member(probe, "grpc") {
        set_if_zero(grpc, "service", "");
    }
}

fn default_handler(handler: &mut Map<String, Value>) {
    if let Some(get) = member(handler, "httpGet") {
        set_if_zero(get, "path", "/");
        set_if_zero(get, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.len() <= 1 && volume.keys().all(|k| k == "name") {
        volume.insert("emptyDir".into(), Map::new().into());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = member(volume, source) {
            set_default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(downward) = member(volume, "downwardAPI") {
        objects(downward.get_mut("items")).for_each(default_downward);
    }
    if let Some(projected) = member(volume, "projected") {
        for source in objects(projected.get_mut("sources")) {
            if let Some(token) = member(source, "serviceAccountToken") {
                set_default(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = member(source, "downwardAPI") {
                objects(downward.get_mut("items")).for_each(default_downward);
            }
        }
    }
    default_rare_volume(volume);
}

/// Sets the defaults of the sources that PersistentVolumes and Pods' volumes share, and of rare ones.
pub(super) fn default_rare_volume(volume: &mut Map<String, Value>) {
    const TEXTS: [(&str, &[(&str, &str)]); 5] = [
        ("hostPath", &[("type", "")]),
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("fsType", "ext4"), ("kind", "Shared")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (name, defaults) in TEXTS {
        if let Some(source) = member(volume, name) {
            defaults.iter().for_each(|(key, value)| set_default(source, key, *value));
            if name == "azureDisk" {
                set_default(source, "readOnly", false);
            }
        }
    }
    if let Some(claim) = member(volume, "ephemeral").and_then(|e| member(e, "volumeClaimTemplate")) {
        as_object(claim.entry("metadata").or_insert_with(|| json!({})));
        let spec = as_object(claim.entry("spec").or_insert_with(|| json!({})));
        set_default(spec, "volumeMode", "Filesystem");
        set_default(spec, "resources", Map::new());
    }
    if let Some(image) = member(volume, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or(""));
        set_if_zero(image, "pullPolicy", policy);
    }
}

/// Validates labels and annotations of a template's metadata.
fn validate_template_metadata(template: &Value, field: At<'_>, errors: &mut Vec<FieldError>) {
    let meta = &template["metadata"];
    metadata::labels(meta.get("labels"), format_args!("{field}.labels"), errors);
    metadata::annotations(meta.get("annotations"), format_args!("{field}.annotations"), errors);
}
