//! Admission: plugins that see the object of a request, may change it, may refuse the request, and may add conditions
//! and writes to its transaction.
//!
//! A plugin is one file in `admission/` and one line in [`built_in`], which lists plugins under upstream's names and
//! in upstream's order. The pipeline runs the chain twice per attempt: [`AdmissionChain::admit`] before the object is
//! prepared and validated, [`AdmissionChain::validate`] after. If the write conflicts, both run again on the newer
//! object.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::admission_webhook::Reinvocation;
use shim_model::access;
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};

use super::context::{Operation, RequestContext};
use crate::auth::authorization::AccessControl;
use crate::storage::catalog::ServedResource;
use crate::storage::deletion::DeleteOptions;
use crate::storage::preconditions::Preconditions;
use crate::storage::registry::Registry;

mod authorizer;
mod certificate_requester;
mod certificate_signers;
mod configuration;
mod default_classes;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_resize_validator;
mod pod_security;
mod pod_topology_labels;
mod policies;
mod priority;
mod request;
mod resource_quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
mod webhooks;

/// Upstream's name of the plugin with a configuration.
const POD_SECURITY: &str = "PodSecurity";

pub use configuration::{AdmissionConfiguration, AdmissionConfigurationError};
pub use webhooks::WebhookCaller;

/// The attributes of a request that plugins see.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// The operation.
    pub operation: Operation,
    /// The requested resource.
    pub resource: &'a ServedResource,
    /// The requested subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The kind of `object` and `old_object`: the resource's, or `Scale`, `Binding`, `Eviction`, `TokenRequest`.
    pub kind: KindRef<'a>,
    /// Namespace; empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Name; empty for a new object whose name is generated.
    pub name: &'a str,
    /// The new object. `None` for deletions, connections, and on fast paths, where it is not decoded.
    pub object: Option<Value>,
    /// The stored object. `None` for creations.
    pub old_object: Option<&'a Value>,
    /// The options of a deletion.
    pub delete_options: Option<&'a DeleteOptions>,
    changes: u32,
    /// Whether the mutating plugins run again.
    is_reinvocation: bool,
    /// The state of plugins with [`ReinvocationPolicy::PerItem`], by their names.
    items: BTreeMap<&'static str, Reinvocation>,
}

impl<'a> Attributes<'a> {
    /// Creates attributes without an object, which the caller sets.
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
            is_reinvocation: false,
            items: BTreeMap::new(),
        }
    }

    /// Whether the request addresses this resource of the core group, and no subresource.
    pub fn is_core(&self, plural: &str) -> bool {
        self.subresource.is_empty() && self.resource.is("", plural)
    }

    /// Reports a change of the object that earlier plugins may need to see: those with
    /// [`ReinvocationPolicy::IfNeeded`] run once more. Webhooks and policies must call this after a change. Built-in
    /// plugins do not, because their changes do not concern other plugins.
    pub fn note_change(&mut self) {
        self.changes += 1;
    }

    /// Whether `object` and `old_object` have the resource's kind.
    fn is_own_kind(&self) -> bool {
        self.kind.kind == self.resource.kind && self.kind.group == self.resource.group
    }

    /// Whether the plugin runs again after a change.
    fn is_reinvocation(&self) -> bool {
        self.is_reinvocation
    }

    /// The state of a plugin whose items are reinvoked, at the begin of a run.
    fn begin_items(&mut self, plugin: &'static str) -> Reinvocation {
        let mut state = self.items.remove(plugin).unwrap_or_default();
        if self.is_reinvocation {
            state.begin_again(self.object.as_ref());
        }
        state
    }

    /// Keeps the state at the end of a run.
    fn finish_items(&mut self, plugin: &'static str, mut state: Reinvocation) {
        state.finish(self.object.as_ref());
        self.items.insert(plugin, state);
    }

    /// The refusal of the request.
    fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        status::forbidden(&self.resource.group, &self.resource.plural, self.object_name(), why)
    }

    /// The name that a refusal has: that of the request, or else of the object, or else what its name begins with.
    fn object_name(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let of_object = |member: &str| {
            self.object.as_ref().map_or("", |object| access::text(object, &["metadata", member]))
        };
        let names = ["name", "generateName"].map(of_object);
        names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown")
    }
}

/// Whether a mutating plugin runs again after a later plugin has changed the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReinvocationPolicy {
    /// It runs once.
    Never,
    /// It runs once more if a later plugin called [`Attributes::note_change`]. It must be idempotent.
    IfNeeded,
    /// It has items, such as webhooks, that run once more if a later one has changed the object, or another plugin.
    PerItem,
}

/// A rule that needs more than the object: other objects, the user, or an external service.
#[async_trait]
pub trait AdmissionPlugin: Send + Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// Whether the plugin applies to the request. Called for every write, so it must be cheap and look nothing up.
    fn handles(&self, attributes: &Attributes<'_>) -> bool;

    /// Whether the plugin needs the object. Fast paths, which do not decode objects, run only plugins that do not; a
    /// plugin that does sends the request to the general path.
    fn needs_object(&self) -> bool {
        true
    }

    /// Whether [`AdmissionPlugin::admit`] runs again after a later plugin's change.
    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        ReinvocationPolicy::IfNeeded
    }

    /// Changes the object or refuses the request. Additions to `preconditions` become part of the transaction.
    async fn admit(
        &self,
        _context: &RequestContext,
        _attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the request or adds to its transaction. The object is final.
    async fn validate(
        &self,
        _context: &RequestContext,
        _attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The built-in plugins in upstream's order. RoleEscalation comes late: it must see the object that is written. ResourceQuota
/// is last, so that only what is written is charged.
pub fn built_in(
    registry: &Registry,
    access: &AccessControl,
    configuration: &AdmissionConfiguration,
    caller: WebhookCaller,
) -> Vec<Arc<dyn AdmissionPlugin>> {
    let caller = Arc::new(caller);
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(registry.clone())),
        Arc::new(limit_ranger::LimitRanger::new(registry)),
        Arc::new(service_account::ServiceAccount::new(registry.clone())),
        Arc::new(node_restriction::NodeRestriction::new(registry.clone())),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity::new(registry.clone(), configuration.pod_security.clone())),
        Arc::new(priority::Priority::new(registry.clone())),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
        Arc::new(default_classes::DefaultClass::storage(registry)),
        Arc::new(storage_object_in_use_protection::StorageObjectInUseProtection),
        Arc::new(default_classes::PersistentVolumeClaimResize::new(registry)),
        Arc::new(runtime_class::RuntimeClass::new(registry.clone())),
        Arc::new(certificate_signers::CertificateApproval { access: access.clone() }),
        Arc::new(certificate_signers::CertificateSigning { access: access.clone() }),
        Arc::new(certificate_signers::CertificateSubjectRestriction),
        Arc::new(default_classes::DefaultClass::ingress(registry)),
        Arc::new(pod_topology_labels::PodTopologyLabels::new(registry.clone())),
        Arc::new(pod_resize_validator::PodResizeValidator::new(registry.clone())),
        Arc::new(policies::MutatingAdmissionPolicy::new(registry.clone(), access.clone())),
        Arc::new(webhooks::MutatingAdmissionWebhook::new(registry, access, caller.clone())),
        Arc::new(policies::ValidatingAdmissionPolicy::new(registry.clone(), access.clone())),
        Arc::new(webhooks::ValidatingAdmissionWebhook::new(registry, access, caller)),
        Arc::new(role_escalation::RoleEscalation::new(access.clone())),
        Arc::new(certificate_requester::CertificateRequester),
        Arc::new(resource_quota::ResourceQuota::new(registry.clone())),
    ]
}

/// An ordered list of plugins.
#[derive(Clone)]
pub struct AdmissionChain {
    plugins: Arc<[Arc<dyn AdmissionPlugin>]>,
}

impl AdmissionChain {
    /// Creates a chain of the given plugins.
    pub fn new(plugins: Vec<Arc<dyn AdmissionPlugin>>) -> AdmissionChain {
        AdmissionChain { plugins: plugins.into() }
    }

    /// Whether no plugin that applies needs the object, so that a fast path may run the chain without one.
    pub fn does_without_object(&self, attributes: &Attributes<'_>) -> bool {
        self.plugins.iter().all(|plugin| !plugin.needs_object() || !plugin.handles(attributes))
    }

    /// Runs the mutating phase: all plugins that apply, in order, then those to be reinvoked after a later plugin's
    /// change.
    pub async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        // The number of changes after which each plugin need not run again.
        let mut ran: Vec<(usize, u32)> = Vec::new();
        for (at, plugin) in self.plugins.iter().enumerate() {
            if plugin.handles(attributes) {
                plugin.admit(context, attributes, preconditions).await?;
                match plugin.reinvocation_policy() {
                    ReinvocationPolicy::Never => {}
                    ReinvocationPolicy::IfNeeded => ran.push((at, attributes.changes)),
                    ReinvocationPolicy::PerItem => ran.push((at, 0)),
                }
            }
        }
        if attributes.changes == 0 {
            return Ok(());
        }
        attributes.is_reinvocation = true;
        for (at, seen) in ran {
            let plugin = &self.plugins[at];
            if attributes.changes > seen && plugin.handles(attributes) {
                tracing::debug!(plugin = plugin.name(), audit_id = %context.audit_id, "reinvoking admission plugin");
                plugin.admit(context, attributes, preconditions).await?;
            }
        }
        Ok(())
    }

    /// Runs the validating phase.
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
