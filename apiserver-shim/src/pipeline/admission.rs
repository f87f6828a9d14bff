//! Admission: plugins that see what a request writes, may change it, may refuse it, and may add conditions and writes to
//! its transaction.
//!
//! A plugin is one file below `admission/` and one line in [`built_in`], which is in upstream's order and under upstream's
//! names. The pipeline runs the chain twice per attempt: [`AdmissionChain::admit`] before the object is prepared and
//! validated, [`AdmissionChain::validate`] after. If the write loses a race, both run again on the newer object.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_model::resource::KindRef;
use shim_model::status::Status;

use super::context::{Operation, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::deletion::DeleteOptions;
use crate::storage::preconditions::Preconditions;
use crate::storage::registry::Registry;

mod default_toleration_seconds;
mod namespace_lifecycle;
mod priority;
mod runtime_class;
mod service_account;
mod taint_nodes_by_condition;

/// What a request does to one object, as plugins see it.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// What is done.
    pub operation: Operation,
    /// The resource that is addressed.
    pub resource: &'a ServedResource,
    /// The subresource that is addressed; empty for the object itself.
    pub subresource: &'a str,
    /// The kind of `object` and `old_object`: the resource's, or `Scale`, `Binding`, `Eviction`, `TokenRequest`.
    pub kind: KindRef<'a>,
    /// Namespace; empty for cluster-wide resources.
    pub namespace: &'a str,
    /// Name; empty for a new object whose name is generated.
    pub name: &'a str,
    /// The object as it is to be. None for deletions, connections, and on fast paths, where it is not decoded.
    pub object: Option<Value>,
    /// The object as it is stored. None for creations.
    pub old_object: Option<&'a Value>,
    /// The options of a deletion.
    pub delete_options: Option<&'a DeleteOptions>,
    changes: u32,
}

impl<'a> Attributes<'a> {
    /// What is done to a resource's object; the object itself is set by the caller.
    pub fn new(operation: Operation, resource: &'a ServedResource, namespace: &'a str) -> Attributes<'a> {
        Attributes {
            operation,
            resource,
            subresource: "",
            kind: resource.kind_ref(),
            namespace,
            name: "",
            object: None,
            old_object: None,
            delete_options: None,
            changes: 0,
        }
    }

    /// Whether the request is for a resource of the core group, itself and not a subresource.
    pub fn is_core(&self, plural: &str) -> bool {
        self.subresource.is_empty() && self.resource.is("", plural)
    }

    /// Tells the chain that the object was changed in a way that plugins before this one may have to see: those whose
    /// policy is [`ReinvocationPolicy::IfNeeded`] run once more. Webhooks and policies call it when they changed something;
    /// built-in plugins, whose changes concern none of the others, do not.
    pub fn note_change(&mut self) {
        self.changes += 1;
    }

    fn object_name(&self) -> &str {
        match &self.object {
            Some(object) if self.name.is_empty() => shim_model::access::text(object, &["metadata", "name"]),
            _ => self.name,
        }
    }
}

/// Whether a mutating plugin runs again after a later plugin has changed the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReinvocationPolicy {
    /// It runs once.
    Never,
    /// It runs once more if a later plugin called [`Attributes::note_change`]. It must be idempotent.
    IfNeeded,
}

/// A rule about writes that looks at more than the object: other objects, the user, somebody outside.
#[async_trait]
pub trait AdmissionPlugin: Send + Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// Whether the plugin has anything to do with the request. Called for every write: cheap, without looking things up.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// Whether the plugin needs the object. One that does not runs on fast paths too, where objects are not decoded; one
    /// that does sends the request to the general path.
    fn needs_object(&self) -> bool {
        true
    }

    /// Whether [`AdmissionPlugin::admit`] runs again after a later plugin.
    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        ReinvocationPolicy::IfNeeded
    }

    /// Changes the object, or refuses the request early. What is added to `preconditions` becomes part of the transaction.
    async fn admit(
        &self,
        _context: &RequestContext,
        _attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the request, or adds to its transaction. The object is final.
    async fn validate(
        &self,
        _context: &RequestContext,
        _attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The built-in plugins in upstream's order.
pub fn built_in(registry: &Registry) -> Vec<Arc<dyn AdmissionPlugin>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(registry.clone())),
        Arc::new(service_account::ServiceAccount::new(registry.clone())),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(priority::Priority::new(registry.clone())),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
        Arc::new(runtime_class::RuntimeClass),
    ]
}

/// The plugins in their order.
#[derive(Clone)]
pub struct AdmissionChain {
    plugins: Arc<[Arc<dyn AdmissionPlugin>]>,
}

impl AdmissionChain {
    /// A chain of these plugins.
    pub fn new(plugins: Vec<Arc<dyn AdmissionPlugin>>) -> AdmissionChain {
        AdmissionChain { plugins: plugins.into() }
    }

    /// Whether every plugin that handles the request does without the object: then a fast path may run the chain with
    /// attributes that carry none.
    pub fn does_without_object(&self, attributes: &Attributes<'_>) -> bool {
        self.plugins.iter().all(|plugin| !plugin.needs_object() || !plugin.handles(attributes))
    }

    /// Runs the mutating side: every plugin that handles the request, in order, and those that want it once more if a
    /// later one changed the object.
    pub async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        // How many changes had been made when each plugin was done; `None` for those that do not run again.
        let mut ran: Vec<(usize, u32)> = Vec::new();
        for (at, plugin) in self.plugins.iter().enumerate() {
            if plugin.handles(attributes) {
                plugin.admit(context, attributes, preconditions).await?;
                if plugin.reinvocation_policy() == ReinvocationPolicy::IfNeeded {
                    ran.push((at, attributes.changes));
                }
            }
        }
        if attributes.changes == 0 {
            return Ok(());
        }
        for (at, seen) in ran {
            let plugin = &self.plugins[at];
            if attributes.changes > seen && plugin.handles(attributes) {
                tracing::debug!(plugin = plugin.name(), audit_id = %context.audit_id, "plugin runs again");
                plugin.admit(context, attributes, preconditions).await?;
            }
        }
        Ok(())
    }

    /// Runs the validating side.
    pub async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(attributes)) {
            plugin.validate(context, attributes, preconditions).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
