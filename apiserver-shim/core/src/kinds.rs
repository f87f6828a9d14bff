//! The strategies of the kinds: defaults, preparation, validation, warnings, table cells, selectable fields. One file
//! per kind in `kinds/` implements [`Strategy`]; the request pipeline calls it in upstream's order:
//!
//! create: decode → `default` → managed fields → admission → [`begin_create`] → write.
//! update: decode → `default` → managed fields → admission → [`begin_update`] → write.
//!
//! Everything here is pure: time, UIDs and random suffixes are in [`CreateContext`].

pub mod admission;
pub mod api_service;
mod around_admission;
mod cells;
mod certificate_signing_request;
mod component_status;
mod conditions;
mod configmap;
pub(crate) mod cron_job;
pub mod custom_resource_definition;
pub(crate) mod daemon_set;
mod deployment;
pub mod device;
mod endpoints;
pub(crate) mod event;
mod flow_control;
pub(crate) mod horizontal_pod_autoscaler;
mod job;
mod lease;
mod limit_range;
pub(crate) mod metadata;
mod namespace;
mod network;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_disruption_budget;
pub mod pod_template;
mod preparation;
mod priority_class;
mod ratchet;
pub mod rbac;
mod replica_set;
mod replication_controller;
pub mod reset_fields;
mod resource_names;
mod resource_quota;
mod rules;
mod runtime_class;
pub mod scale;
mod secret;
mod selector_requirements;
pub mod service;
mod service_account;
mod stateful_set;
mod storage;
mod virtual_resource;
mod volume_sources;
mod warnings;
mod webhook;
mod workload;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::object::StoredObject;
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

pub use around_admission::{begin_admission, deduplicate_owners, restore_managed_fields};
pub use metadata::take_version;
pub use preparation::{
    Effect, begin_create, begin_create_with, begin_update, begin_update_with, check_field_selector,
    check_identity,
};

pub(crate) use rules::check_domain_prefixed_path;

use crate::custom_resources::ScalePaths;

/// The inputs of a create that are not in the object.
#[derive(Debug, Clone, Copy)]
pub struct CreateContext<'a> {
    /// Namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// A new UID.
    pub uid: &'a str,
    /// Now.
    pub now: Instant,
    /// A new random suffix for `generateName`: five characters out of `bcdfghjklmnpqrstvwxz2456789`.
    pub suffix: &'a str,
    /// Whether the object came without labels.
    pub is_unlabelled: bool,
}

/// Which part of an object an update writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource<'a> {
    /// The object itself.
    Main,
    /// `/status`.
    Status,
    /// Another subresource, by name: `ephemeralcontainers`, `resize`, `finalize`.
    Other(&'a str),
}

/// What requests for a virtual resource do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualResource {
    /// It answers in the status of the object.
    Review,
    /// It binds the Pod that the object names.
    Binding,
    /// It is read-only, and made for each request.
    ComponentStatus,
}

/// The grace period of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Grace period in seconds; 0 removes the object immediately.
    pub seconds: i64,
}

/// The rules of a kind. Each method has the usual behaviour as default.
pub trait Strategy: Send + Sync {
    /// What requests do if the objects are not stored; `None` for stored resources.
    fn virtual_resource(&self) -> Option<VirtualResource> {
        None
    }

    /// The warning that each response carries, because the kind is deprecated.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// Why the object of this name cannot be deleted, as the text of the refusal; `None` for other objects.
    fn deletion_refusal(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// Sets defaults. It runs on every decoded object, created or updated, and is idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Sets defaults in what results from an applied configuration, which is not decoded as other bodies are.
    fn default_applied(&self, object: &mut Value) {
        self.default(object);
    }

    /// Whether the kind has `metadata.generation`, which grows when its spec changes.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether the kind has a `/status` subresource, so that an update of the object itself cannot write `status`.
    fn has_status(&self) -> bool {
        false
    }

    /// Brings a decoded object from the store to what it would be if it were written now, and returns whether that changed it:
    /// for kinds whose schema may have changed since.
    fn restore(&self, _object: &mut Value) -> bool {
        false
    }

    /// Whether [`Strategy::restore`] has anything to do, so that objects are decoded when they are read from the store.
    fn is_restored(&self) -> bool {
        false
    }

    /// Why no object can be created at present.
    fn creation_refusal(&self) -> Option<&'static str> {
        None
    }

    /// Whether the validation of updates compares with the stored object itself; see [`ratchet`].
    fn ratchets_itself(&self) -> bool {
        false
    }

    /// Where the objects have their replicas, for kinds whose `scale` subresource a definition describes.
    fn scale_paths(&self) -> Option<&ScalePaths> {
        None
    }

    /// Sets the fields of a new object that a client cannot choose. The status is already cleared if the kind has one.
    fn prepare_create(&self, _object: &mut Value, _context: &CreateContext<'_>) {}

    /// Restores the fields that an update of the main resource cannot change. The status is already restored.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    /// Restores the fields that an update of the status cannot change; by default everything except status and
    /// metadata.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        access::copy(old, new, &["spec"]);
    }

    /// Whether a new object has the first generation; otherwise its first change does.
    fn begins_generation(&self) -> bool {
        self.has_generation()
    }

    /// Whether an update increments `metadata.generation`; by default, if it changes the spec.
    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        new.get("spec") != old.get("spec")
    }

    /// Validates a name of this kind.
    fn validate_name(&self, name: &str) -> Vec<String> {
        shim_model::names::dns_subdomain(name)
    }

    /// Whether the kind validates its metadata together with the rest, rather than after it if the rest is valid.
    fn validates_metadata(&self) -> bool {
        true
    }

    /// Validates a new object, except its metadata.
    fn validate_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Validates an update of the main resource, except its metadata.
    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate_create(new)
    }

    /// Validates an update of the status.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Warnings for the client. `old` is the object before an update.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Warnings about a new object before it is prepared and validated.
    fn preparation_warnings(&self, _new: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Warnings about an update of the status.
    fn status_warnings(&self, _new: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    /// The cells of the object's table row, matching the resource's columns.
    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }

    /// Values of the fields for field selectors, in addition to `metadata.name` and `metadata.namespace`.
    fn selectable(&self, _object: &Value) -> Vec<(FieldName, String)> {
        Vec::new()
    }

    /// The names of those fields.
    fn selectable_fields(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether a field selector may have `metadata.namespace`, which no object of a cluster-scoped kind matches. As upstream,
    /// kinds with fields of their own take what they list.
    fn takes_namespace_selector(&self) -> bool {
        self.selectable_fields().is_empty()
    }

    /// The refusal of a field selector with another field, where it differs from upstream's usual one.
    fn unknown_selector(&self, _field: &str) -> Option<String> {
        None
    }

    /// The grace period of a deletion; `requested` is the client's. `None` for kinds that are removed immediately.
    fn grace(&self, _object: &Value, _requested: Option<i64>) -> Option<Grace> {
        None
    }

    /// Whether a deletion without a propagation policy leaves the dependents alone. Only kinds do that are older than policies.
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// The warning about such a deletion.
    fn orphaning_warning(&self) -> Option<&'static str> {
        None
    }

    /// Whether an update of an absent object creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update may come without a resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// The rules of updates through a subresource other than `status`. Every subresource that is a view of the object
    /// and is in the definition's list has some.
    fn subresource(&self, _name: &str) -> Option<&dyn SubresourceStrategy> {
        None
    }

    /// Lists that are always stored, as null if they are empty.
    fn lists_stored_as_null(&self) -> &'static [&'static [&'static str]] {
        &[]
    }

    /// Whether the answer to a completed delete is the object itself rather than a `Status`.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// Whether something other than `metadata.finalizers` holds an object that is being deleted.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// Changes an object whose deletion has begun and that finalizers hold.
    fn begin_deletion(&self, _object: &mut Value) {}

    /// The refusal of a delete whose precondition `what` (`UID` or `ResourceVersion`) does not hold.
    fn precondition_failed(
        &self,
        resource: &Resource,
        name: &str,
        what: &str,
        wanted: &str,
        found: &str,
    ) -> Status {
        status::precondition_failed(resource, name, what, wanted, found)
    }

    /// The group that validation errors name; none means the resource's own.
    fn error_group(&self) -> Option<&'static str> {
        None
    }

    /// Conditions of the object's table row.
    fn row_conditions(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// The same as [`Strategy::selectable`] out of the stored bytes, for kinds whose objects change often. None if a
    /// member does not have the expected type: then the object is decoded.
    fn selectable_stored(&self, _object: &StoredObject) -> Option<Vec<(FieldName, String)>> {
        None
    }
}

/// The rules of updates through one subresource that is a view of the object.
pub trait SubresourceStrategy: Send + Sync {
    /// Carries over what an update through the subresource cannot change.
    fn prepare_update(&self, new: &mut Value, old: &Value);

    /// What is wrong with such an update, metadata aside.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError>;
}

/// The name of a field for field selectors: of a built-in kind, or brought by a definition at run time.
pub type FieldName = Cow<'static, str>;

/// Built-in fields with their values.
fn named<const N: usize>(fields: [(&'static str, String); N]) -> Vec<(FieldName, String)> {
    fields.map(|(name, value)| (FieldName::Borrowed(name), value)).into()
}

/// The fields that field selectors may name, out of a stored object.
pub fn selectable_fields(strategy: &dyn Strategy, object: &StoredObject) -> Vec<(FieldName, String)> {
    if let Some(fields) = strategy.selectable_stored(object) {
        return fields;
    }
    if strategy.selectable_fields().is_empty() {
        return Vec::new();
    }
    let value = serde_json::from_slice(&object.bytes).expect("invariant: a stored object is JSON");
    strategy.selectable(&value)
}

/// Errors of an object's labels, annotations, owners and finalizers.
pub(crate) fn metadata_errors(object: &Value) -> Vec<FieldError> {
    metadata::validate_stored(object, metadata::Finalizers::Qualified)
}

/// The strategy of a built-in resource. Every one has a strategy.
pub(crate) fn builtin(resource: &Resource) -> Arc<dyn Strategy> {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "ConfigMap") => Arc::new(configmap::ConfigMap),
        ("", "Endpoints") => Arc::new(endpoints::Endpoints),
        ("", "Event") => Arc::new(event::CoreEvent),
        ("events.k8s.io", "Event") => Arc::new(event::NewEvent),
        ("", "Namespace") => Arc::new(namespace::Namespace),
        ("", "Node") => Arc::new(node::Node),
        ("", "PersistentVolume") => Arc::new(persistent_volume::PersistentVolume),
        ("", "PersistentVolumeClaim") => Arc::new(persistent_volume_claim::PersistentVolumeClaim),
        ("", "Pod") => Arc::new(pod::Pod),
        ("", "PodTemplate") => Arc::new(pod_template::PodTemplate),
        ("", "ReplicationController") => Arc::new(replication_controller::ReplicationController),
        ("", "LimitRange") => Arc::new(limit_range::LimitRange),
        ("", "ResourceQuota") => Arc::new(resource_quota::ResourceQuota),
        ("", "Secret") => Arc::new(secret::Secret),
        ("", "Service") => Arc::new(service::Service),
        ("", "ServiceAccount") => Arc::new(service_account::ServiceAccount),
        ("apps", "Deployment") => Arc::new(deployment::Deployment),
        ("apps", "ReplicaSet") => Arc::new(replica_set::ReplicaSet),
        ("apps", "ControllerRevision") => Arc::new(workload::ControllerRevision),
        ("apps", "DaemonSet") => Arc::new(daemon_set::DaemonSet),
        ("apps", "StatefulSet") => Arc::new(stateful_set::StatefulSet),
        ("batch", "CronJob") => Arc::new(cron_job::CronJob),
        ("batch", "Job") => Arc::new(job::Job),
        ("autoscaling", _) => autoscaler(&resource.version),
        ("policy", "PodDisruptionBudget") => Arc::new(pod_disruption_budget::PodDisruptionBudget),
        ("networking.k8s.io", kind) => network::builtin(kind),
        ("storage.k8s.io", kind) => storage::builtin(kind),
        ("resource.k8s.io", kind) => device::builtin(kind),
        ("admissionregistration.k8s.io", kind) => webhook::builtin(kind),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => Arc::new(flow_control::FlowSchema),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            Arc::new(flow_control::PriorityLevelConfiguration)
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            Arc::new(certificate_signing_request::CertificateSigningRequest)
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Arc::new(custom_resource_definition::CustomResourceDefinition)
        }
        ("apiregistration.k8s.io", "APIService") => Arc::new(api_service::ApiService),
        ("node.k8s.io", "RuntimeClass") => Arc::new(runtime_class::RuntimeClass),
        ("coordination.k8s.io", "Lease") => Arc::new(lease::Lease),
        ("discovery.k8s.io", "EndpointSlice") => Arc::new(endpoints::EndpointSlice),
        ("scheduling.k8s.io", "PriorityClass") => Arc::new(priority_class::PriorityClass),
        (rbac::GROUP, "Role") => Arc::new(rbac::Role { namespaced: true }),
        (rbac::GROUP, "ClusterRole") => Arc::new(rbac::Role { namespaced: false }),
        (rbac::GROUP, "RoleBinding") => Arc::new(rbac::RoleBinding { namespaced: true }),
        (rbac::GROUP, "ClusterRoleBinding") => Arc::new(rbac::RoleBinding { namespaced: false }),
        ("authentication.k8s.io" | "authorization.k8s.io", _) => Arc::new(virtual_resource::Review),
        ("", "Binding") => Arc::new(virtual_resource::Binding),
        ("", "ComponentStatus") => Arc::new(component_status::ComponentStatus),
        (_, kind) => unknown(kind),
    }
}

fn autoscaler(version: &str) -> Arc<dyn Strategy> {
    match version {
        "v1" => Arc::new(horizontal_pod_autoscaler::HorizontalPodAutoscalerV1),
        _ => Arc::new(horizontal_pod_autoscaler::HorizontalPodAutoscaler),
    }
}

fn unknown(kind: &str) -> ! {
    unreachable!("invariant: {kind} has a strategy")
}

/// The strategy with all defaults.
#[derive(Debug, Default)]
pub struct DefaultStrategy;

impl Strategy for DefaultStrategy {}

#[cfg(test)]
#[path = "kinds/tests.rs"]
mod tests;
