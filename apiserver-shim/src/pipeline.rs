//! The only way to write objects. Users' requests, controllers, the scheduler and the reports of nodes use the same
//! pipeline, each with its own identity ([`RequestContext`]).
//!
//! read → change → default → mutating admission → prepare → validate → validating admission → write
//!
//! If the write conflicts, because the object or anything in its [`Preconditions`] has changed, the whole sequence is
//! retried on the newest state. There is one file per kind of write: [`create`](self), `update`, `apply`, `delete`,
//! `binding`, and two fast paths for encoded objects, `pod_status` and `event`, which avoid decoding. Only `commit` builds
//! transactions.

use std::sync::Arc;

use serde_json::Value;
use shim_core::kinds::{self, Subresource};
use shim_model::managed_fields::{self, Versions};
use shim_model::resource::Resource;
use shim_model::status::{self, Status};
use store::Key;

use crate::auth::audit::AuditLog;
use crate::auth::authorization::AccessControl;
use crate::metrics::{self, admission::AdmissionMetrics};
use crate::service_client::ServiceClients;
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::service_addresses::{self, Attempt, ServiceKeys};

pub mod admission;
mod apply;
mod binding;
pub mod blocking;
mod claim_privileges;
mod commit;
mod component_audit;
mod context;
mod create;
mod delete;
mod event;
mod pod_status;
mod update;
mod versions;

pub use crate::storage::preconditions::Preconditions;
use admission::WebhookCaller;
pub use admission::{
    AdmissionChain, AdmissionConfiguration, AdmissionPlugin, Attributes, ReinvocationPolicy,
};
pub use apply::Configuration;
pub use binding::{BINDING, BoundPod, PreparedOutcome};
pub use context::{Identity, Operation, REQUEST_TIMEOUT, RequestContext, Warnings, WriteParameters};
pub use delete::{DeletionOutcome, EvictionOutcome};
pub use update::View;

/// Attempts after a conflict. Each conflict means that another writer made progress.
const CONFLICT_RETRIES_MAX: usize = 64;

/// The result of a create or update.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// The decoded object if it is not in the store: the result of a dry run, or the last state of an object whose
    /// last finalizer was removed.
    pub unstored: Option<Value>,
    /// The object as stored.
    pub stored: Option<Arc<Object>>,
    /// Whether the object was created.
    pub created: bool,
}

impl WriteOutcome {
    /// Decodes the object in the version of `resource`.
    pub async fn value(&self, resource: &ServedResource) -> Result<Value, Status> {
        match (&self.stored, &self.unstored) {
            (Some(object), _) => resource.decode(object).await,
            (None, Some(value)) => Ok(value.clone()),
            (None, None) => Ok(Value::Null),
        }
    }

    /// The revision of the write, or of the unchanged object; 0 for a dry run.
    pub fn revision(&self) -> u64 {
        let unstored = || self.unstored.as_ref().map_or(0, revision_of);
        self.stored.as_ref().map_or_else(unstored, |object| object.revision)
    }
}

/// Parses the resourceVersion of a decoded object; 0 if absent.
fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Identifies the object, and the part of it, that a write addresses.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ObjectRef<'a> {
    pub resource: &'a Arc<ServedResource>,
    /// The object itself or one of its subresources.
    pub subresource: Subresource<'a>,
    /// Namespace; empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Name; empty for objects to be created with `generateName`.
    pub name: &'a str,
}

impl<'a> ObjectRef<'a> {
    /// The object itself.
    pub fn new(resource: &'a Arc<ServedResource>, namespace: &'a str, name: &'a str) -> ObjectRef<'a> {
        ObjectRef { resource, subresource: Subresource::Main, namespace, name }
    }

    /// Its status.
    #[must_use]
    pub fn status(self) -> ObjectRef<'a> {
        ObjectRef { subresource: Subresource::Status, ..self }
    }
}

/// The name of a subresource; empty for the object itself.
fn subresource_name(subresource: Subresource<'_>) -> &str {
    match subresource {
        Subresource::Main => "",
        Subresource::Status => "status",
        Subresource::Other(name) => name,
    }
}

/// Writes objects through admission and validation. Clones share.
#[derive(Clone)]
pub struct Pipeline {
    registry: Registry,
    service_claims: Arc<ServiceKeys>,
    access: AccessControl,
    admission: AdmissionChain,
    /// The clients of webhooks and aggregated API servers.
    clients: ServiceClients,
    webhook_metrics: AdmissionMetrics,
    /// The audit log for writes of components.
    audit: Option<Arc<AuditLog>>,
}

impl Pipeline {
    /// Creates a pipeline with the built-in admission plugins.
    pub fn new(registry: Registry) -> Pipeline {
        Pipeline::configured(registry, &AdmissionConfiguration::default())
    }

    /// Creates a pipeline with the built-in admission plugins, as an administrator has configured them.
    pub fn configured(registry: Registry, configuration: &AdmissionConfiguration) -> Pipeline {
        let access = AccessControl::new(registry.clone());
        let webhooks = WebhookCaller::new(&registry);
        let (clients, webhook_metrics) = (webhooks.clients.clone(), webhooks.metrics.clone());
        let admission = AdmissionChain::new(admission::built_in(&registry, &access, configuration, webhooks));
        let service_claims = Arc::new(ServiceKeys::new(registry.clone()));
        Pipeline { registry, service_claims, access, admission, clients, webhook_metrics, audit: None }
    }

    /// Creates a pipeline with the given admission plugins.
    pub fn with_plugins(registry: Registry, plugins: Vec<Arc<dyn AdmissionPlugin>>) -> Pipeline {
        Pipeline { admission: AdmissionChain::new(plugins), ..Pipeline::new(registry) }
    }

    /// Decides what users may do.
    pub fn access(&self) -> &AccessControl {
        &self.access
    }

    /// The clients of webhooks and aggregated API servers.
    pub fn clients(&self) -> &ServiceClients {
        &self.clients
    }

    /// Registers the metrics of admission.
    pub fn register_metrics(&self, metrics: &metrics::Registry) {
        self.webhook_metrics.register(metrics);
    }

    /// Read access to objects.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs admission for a request that stores no object of its own: `binding`, `eviction`, `token`, reviews and
    /// connections. Returns the object, which mutating plugins may have changed.
    pub async fn admit_only(
        &self,
        context: &RequestContext,
        mut attributes: Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<Option<Value>, Status> {
        self.admission.admit(context, &mut attributes, preconditions).await?;
        self.admission.validate(context, &attributes, preconditions).await?;
        Ok(attributes.object)
    }

    /// Sets the managed fields of an object that is to be written.
    async fn record_fields(
        &self,
        context: &RequestContext,
        (resource, subresource): (&Arc<ServedResource>, &str),
        old: Option<&Value>,
        new: &mut Value,
    ) {
        if context.field_manager.is_empty() || context.owners_are_recorded() {
            return;
        }
        let versions = versions::ConvertedVersions::new(resource);
        if old.is_none() || !versions.renames_fields() {
            let writer = versions::writer(context, (resource, subresource), &versions);
            return managed_fields::record_update(old, new, writer);
        }
        let sent = std::mem::take(new);
        let record = |versions: &dyn Versions| {
            let mut recorded = sent.clone();
            let writer = versions::writer(context, (resource, subresource), versions);
            managed_fields::record_update(old, &mut recorded, writer);
            recorded
        };
        *new = versions::with_conversions(resource, record).await;
    }

    /// Chooses the addresses and ports of a Service; other objects have none.
    fn allocate_addresses(
        &self,
        resource: &Resource,
        object: &mut Value,
        old: Option<&Value>,
        attempt: Attempt<'_>,
    ) -> Result<Preconditions, Status> {
        let source = (&self.registry, &*self.service_claims);
        service_addresses::allocate(source, resource, object, old, attempt)
    }

    /// Removes owner references that occur twice. As upstream, a patch is looked at after admission only.
    fn deduplicate_owners(&self, context: &RequestContext, object: &mut Value, after_admission: bool) {
        if after_admission || context.verb != "patch" {
            let warning = kinds::deduplicate_owners(object, after_admission);
            warning.into_iter().for_each(|warning| context.warn(warning));
        }
    }

    /// Waits until the caches contain the write that broke a precondition, so that the next attempt reads it.
    async fn catch_up(&self, broken: &Key) -> Result<(), Status> {
        tracing::debug!(key = %broken, "precondition of a write failed");
        self.registry.fresh().await.map(drop)
    }
}

/// The error of a write whose last attempt conflicted. `broken` is the precondition that failed.
fn gave_up(target: &ObjectRef<'_>, broken: Option<&Key>) -> Status {
    match broken {
        None => status::modified(target.resource, target.name),
        Some(key) if crate::storage::service_addresses::is_claim(key) => {
            status::service_unavailable("no free service address could be found")
        }
        Some(_) => {
            let what = target.resource.qualified();
            status::service_unavailable(format!(
                "{what} could not be written: what it depends on keeps changing"
            ))
        }
    }
}

#[cfg(test)]
mod tests;
