//! Namespaces: the `kubernetes` finalizer, the phase, and the label with the name.

use super::{CreateContext, FieldName, Strategy, SubresourceStrategy, cells, metadata, named};
use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

/// System namespaces, which cannot be deleted.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) struct Namespace;

impl Strategy for Namespace {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn deletion_refusal(&self, name: &str) -> Option<&'static str> {
        PROTECTED.contains(&name).then_some("this namespace may not be deleted")
    }

    fn default(&self, object: &mut Value) {
        let name = access::text(object, &["metadata", "name"]).to_owned();
        if !name.is_empty() {
            access::object_mut(object, &["metadata", "labels"])
                .insert("kubernetes.io/metadata.name".into(), name.into());
        }
        access::set_if_zero(access::object_mut(object, &["status"]), "phase", "Active");
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        self.default(object);
        access::object_mut(object, &["status"]).insert("phase".into(), "Active".into());
        let spec = access::object_mut(object, &["spec"]);
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut().filter(|l| !l.iter().any(|f| f == "kubernetes")) {
            list.push("kubernetes".into());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec", "finalizers"]);
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_finalize(object);
        // Upstream's admission plugin looks at the labels, after the other rules.
        if errors.is_empty() {
            errors.extend(pod_security_labels(object));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let deleting = !access::text(new, &["metadata", "deletionTimestamp"]).is_empty();
        let phase = access::text(new, &["status", "phase"]);
        match (deleting, phase) {
            (true, "Active") => vec![FieldError::invalid(
                "status.Phase",
                phase,
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )],
            (false, phase) if phase != "Active" => vec![FieldError::invalid(
                "status.Phase",
                phase,
                "may only be 'Active' if `deletionTimestamp` is empty",
            )],
            _ => Vec::new(),
        }
    }

    fn subresource(&self, name: &str) -> Option<&dyn SubresourceStrategy> {
        match name {
            "finalize" => Some(&Finalize),
            _ => None,
        }
    }

    fn is_held(&self, object: &Value) -> bool {
        !access::list(object, &["spec", "finalizers"]).is_empty()
    }

    fn begin_deletion(&self, object: &mut Value) {
        access::object_mut(object, &["status"]).insert("phase".into(), "Terminating".into());
        // What waits for a namespace are finalizers alone.
        access::remove(object, &["metadata", "deletionGracePeriodSeconds"]);
    }

    fn precondition_failed(
        &self,
        resource: &Resource,
        name: &str,
        what: &str,
        wanted: &str,
        found: &str,
    ) -> Status {
        status::precondition_conflict(resource, name, what, wanted, found)
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), access::text(object, &["status", "phase"]).into(), cells::age(object, now)]
    }

    fn selectable(&self, object: &Value) -> Vec<(FieldName, String)> {
        named([("status.phase", access::text(object, &["status", "phase"]).to_owned())])
    }

    fn selectable_fields(&self) -> Vec<&str> {
        vec!["status.phase"]
    }
}

/// Pod Security labels must have a valid level.
fn pod_security_labels(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        let of = |suffix: &str| {
            let key = format!("pod-security.kubernetes.io/{mode}{suffix}");
            let value = access::get(object, &["metadata", "labels", &key]).and_then(Value::as_str);
            value.map(|v| (format!("metadata.labels[{key}]"), v))
        };
        if let Some((field, level)) =
            of("").filter(|(_, l)| !["privileged", "baseline", "restricted"].contains(l))
        {
            errors.push(FieldError::invalid(field, level, "must be one of privileged, baseline, restricted"));
        }
        let numbered = |v: &str| v.strip_prefix("v1.").is_some_and(|n| n.parse::<u32>().is_ok());
        if let Some((field, version)) = of("-version").filter(|(_, v)| *v != "latest" && !numbered(v)) {
            errors.push(FieldError::invalid(field, version, "must be \"latest\" or \"v1.x\""));
        }
    }
    errors
}

/// `/finalize` changes the finalizers only.
struct Finalize;

impl SubresourceStrategy for Finalize {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["status"]);
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let finalizers = access::list(new, &["spec", "finalizers"]).iter().enumerate();
        let check = |(i, name): (usize, &Value)| {
            metadata::finalizer_errors(format_args!("spec.finalizers[{i}]"), name.as_str().unwrap_or(""))
        };
        finalizers.flat_map(check).collect()
    }
}

fn validate_finalize(new: &Value) -> Vec<FieldError> {
    let finalizers = access::list(new, &["spec", "finalizers"]).iter();
    let check =
        |f: &Value| metadata::finalizer_errors(format_args!("spec.finalizers"), f.as_str().unwrap_or(""));
    finalizers.flat_map(check).collect()
}
