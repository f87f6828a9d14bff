//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: evaluates the policies that are bound to a request. The decision is
//! in `shim_core::admission_policy`; here are the objects that it needs.

mod bindings;
mod mutating;
mod validating;

pub(super) use mutating::MutatingAdmissionPolicy;
pub(super) use validating::ValidatingAdmissionPolicy;

use std::sync::Arc;

use serde_json::Value;
use shim_core::admission_policy::Policy;
use shim_core::admission_policy::matching::MatchResources;
use shim_core::kinds::VirtualResource;
use shim_model::access;
use shim_model::resource::split_api_version;
use shim_model::selector::LabelSelector;
use shim_model::status::Status;

use super::request::{Matched, Namespaces, configures_admission, request_of};
use super::{Attributes, Operation};
use crate::auth::authorization::AccessControl;
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;
use bindings::{Binding, PolicyCache};

/// The part of the plugins that both share.
struct Policies {
    registry: Registry,
    access: AccessControl,
    cache: PolicyCache,
    namespaces: Namespaces,
}

impl Policies {
    fn new(
        registry: Registry,
        access: AccessControl,
        (policies, bindings): (&'static str, &'static str),
    ) -> Policies {
        let cache = PolicyCache::new(&registry, policies, bindings);
        Policies { cache, namespaces: Namespaces::new(registry.clone()), registry, access }
    }

    /// Whether any bound policy has a rule for the request.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        if configures_admission(attributes) || is_review(attributes) {
            return false;
        }
        let bound = self.cache.bound();
        bound.iter().any(|(policy, _)| self.matched_version(&policy.constraints, attributes).is_some())
    }

    /// The resource in the version that the rules match.
    fn matched_version(&self, rules: &MatchResources, attributes: &Attributes<'_>) -> Option<Matched> {
        Matched::find(&self.registry, rules, attributes)
    }

    /// The request's namespace for the selectors of a policy and its bindings: null if the object has none, or if nothing
    /// selects by it.
    async fn namespace_for_selectors(
        &self,
        attributes: &Attributes<'_>,
        (constraints, bindings): (&MatchResources, &[Arc<Binding>]),
    ) -> Result<Value, Status> {
        let of_bindings = bindings.iter().filter_map(|binding| binding.resources.as_ref());
        let mut all = of_bindings.chain([constraints]);
        match all.any(MatchResources::selects_namespaces) {
            true => self.namespaces.for_selectors(attributes).await,
            false => Ok(Value::Null),
        }
    }

    /// The namespace's object, if the policy's expressions use it.
    async fn namespace(&self, attributes: &Attributes<'_>, policy: &Policy) -> Result<Value, Status> {
        match policy.uses_namespace() {
            true => self.namespaces.for_expressions(attributes).await,
            false => Ok(Value::Null),
        }
    }

    /// The resource of a policy's parameters, if it has any.
    fn param_row(&self, policy: &Policy) -> Result<Option<Arc<ServedResource>>, String> {
        let Some((api_version, kind)) = &policy.param_kind else { return Ok(None) };
        let (group, version) = split_api_version(api_version);
        let catalog = self.registry.catalog();
        let mut rows = catalog.iter().filter(|row| row.store().is_some());
        let row = rows.find(|row| row.group == group && row.version == version && row.kind == *kind);
        let unknown =
            || format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'");
        Ok(Some(row.cloned().ok_or_else(unknown)?))
    }

    /// The parameters of a binding: one evaluation for each; null stands for none.
    async fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        attributes: &Attributes<'_>,
    ) -> Result<Vec<Value>, String> {
        let (Some(row), Some(reference)) = (self.param_row(policy)?, &binding.param_ref) else {
            return Ok(vec![Value::Null]);
        };
        let named = access::text(reference, &["namespace"]);
        let namespace = match (row.namespaced, named) {
            (false, "") => "",
            (false, _) => {
                return Err(
                    "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()
                );
            }
            (true, "") if attributes.namespace.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .to_owned(),
                );
            }
            (true, "") => attributes.namespace,
            (true, named) => named,
        };
        let name = access::text(reference, &["name"]);
        let found = if name.is_empty() {
            let selector =
                LabelSelector::from_value(&reference["selector"]).map_err(|error| error.to_string())?;
            let in_namespace = row.namespaced.then_some(namespace);
            let mut objects = row.cache().list(in_namespace);
            objects.retain(|object| selector.matches(&object.header().labels));
            objects
        } else {
            match self.registry.peek(&row, namespace, name) {
                Some(object) => vec![object],
                None => match self.registry.get(&row, namespace, name).await {
                    Ok(object) => vec![object],
                    Err(status) if status.code == 404 => Vec::new(),
                    Err(status) => return Err(status.message),
                },
            }
        };
        if found.is_empty() && access::text(reference, &["parameterNotFoundAction"]) == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        row.decode_all(&found).await.map_err(|status| status.message)
    }
}

/// Reviews, whose interception could break the cluster.
fn is_review(attributes: &Attributes<'_>) -> bool {
    attributes.resource.strategy().virtual_resource() == Some(VirtualResource::Review)
}

/// Whether an operation has an object that policies may change.
fn has_object(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Update | Operation::Connect)
}
