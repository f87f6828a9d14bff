//! The only way to write objects. Users' requests, controllers, the scheduler and what nodes report all come through here,
//! each as itself ([`RequestContext`]).
//!
//! read → change → default → mutating admission → prepare → validate → validating admission → write
//!
//! If the write loses a race (the object, or anything that its [`Preconditions`] name, has changed meanwhile), all of it
//! happens again on the newest state. One file per kind of write: [`create`](self), `update`, `delete`, `binding`, and two
//! fast paths on encoded objects, `pod_status` and `event`, which do the same without decoding; `commit` makes the
//! transaction, and nothing else does.

use std::sync::Arc;

use serde_json::Value;
use shim_core::kinds::Subresource;
use shim_model::managed_fields::{self, Writer};
use shim_model::schema::ObjectType;
use shim_model::status::{self, Status};
use store::Key;

use crate::auth::audit::AuditLog;
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::registry::{Registry, now};

pub mod admission;
mod binding;
mod commit;
mod component_audit;
mod context;
mod create;
mod delete;
mod event;
mod pod_status;
mod update;

pub use crate::storage::preconditions::Preconditions;
pub use admission::{AdmissionChain, AdmissionPlugin, Attributes, ReinvocationPolicy};
pub use binding::{BINDING, BoundPod, PreparedOutcome};
pub use context::{Identity, Operation, RequestContext};
pub use delete::DeletionOutcome;
pub use update::View;

/// How often a write that lost a race is tried again. Each try sees newer state, so that somebody made progress.
const CONFLICT_RETRIES_MAX: usize = 64;

/// What a create or update gave.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// The object as it would be (a dry run) or as it last was (its last finalizer went), decoded.
    pub unstored: Option<Value>,
    /// The object as it is stored now.
    pub stored: Option<Arc<Object>>,
    /// Whether it is new.
    pub created: bool,
}

impl WriteOutcome {
    /// The object as `resource` serves it, decoded.
    pub async fn value(&self, resource: &ServedResource) -> Result<Value, Status> {
        match (&self.stored, &self.unstored) {
            (Some(object), _) => resource.decode(object).await,
            (None, Some(value)) => Ok(value.clone()),
            (None, None) => Ok(Value::Null),
        }
    }

    /// The revision that was written, or at which the object is unchanged; 0 for a dry run.
    pub fn revision(&self) -> u64 {
        let unstored = || self.unstored.as_ref().map_or(0, revision_of);
        self.stored.as_ref().map_or_else(unstored, |object| object.revision)
    }
}

/// The resourceVersion of a decoded object as a number; 0 without one.
fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Which object a write is for, and which part of it.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRef<'a> {
    /// The resource.
    pub resource: &'a Arc<ServedResource>,
    /// The object itself, or one of its subresources.
    pub subresource: Subresource<'a>,
    /// Namespace; empty for cluster-wide resources.
    pub namespace: &'a str,
    /// Name; empty for objects to be created.
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

/// Writes objects. Clones share.
#[derive(Clone)]
pub struct Pipeline {
    registry: Registry,
    admission: AdmissionChain,
    /// Where components' writes are recorded.
    audit: Option<Arc<AuditLog>>,
}

impl Pipeline {
    /// A pipeline with the built-in admission plugins.
    pub fn new(registry: Registry) -> Pipeline {
        let plugins = admission::built_in(&registry);
        Pipeline::with_plugins(registry, plugins)
    }

    /// A pipeline with these admission plugins.
    pub fn with_plugins(registry: Registry, plugins: Vec<Arc<dyn AdmissionPlugin>>) -> Pipeline {
        Pipeline { registry, admission: AdmissionChain::new(plugins), audit: None }
    }

    /// The objects, to be read.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Admits what is asked for by a request that writes no object of its own: `binding`, `eviction`, `token`, reviews,
    /// connections. Mutating plugins may change the object, which is given back.
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

    fn record_fields(
        &self,
        context: &RequestContext,
        (ty, subresource): (&ObjectType, &str),
        old: Option<&Value>,
        new: &mut Value,
    ) {
        if context.field_manager.is_empty() {
            return;
        }
        let reset: &[&[&str]] = match subresource {
            "" => &[&["status"]],
            "status" => &[&["spec"]],
            _ => &[],
        };
        let writer = Writer { manager: &context.field_manager, ty, subresource, now: now(), reset };
        managed_fields::record_update(old, new, writer);
    }

    /// Waits until the caches have what broke a precondition, so that the next attempt reads it.
    async fn catch_up(&self, broken: &Key) -> Result<(), Status> {
        tracing::debug!(key = %broken, "a precondition of a write did not hold");
        self.registry.fresh().await.map(drop)
    }
}

/// The refusal of a write that lost every race. `broken` is the precondition that did not hold last.
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
