//! MutatingAdmissionPolicy: changes objects by the mutations of bound policies.

use shim_model::go_quote::Quoted;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::admission_policy::matching::MatchResources;
use shim_core::admission_policy::{Condition, Mutation, Policy, PolicyInput};
use shim_core::admission_webhook::Reinvocation;
use shim_model::patch::json::PatchError;
use shim_model::schema::{self, ObjectType};
use shim_model::status::{self, Cause, Status};
use shim_model::{access, managed_fields, patch};

use super::bindings::Binding;
use super::{Matched, Policies, has_object, request_of};
use crate::auth::authorization::AccessControl;
use crate::pipeline::admission::authorizer::RequestAuthorizer;
use crate::pipeline::admission::{
    AdmissionPlugin, Attributes, Preconditions, ReinvocationPolicy, RequestContext,
};
use crate::pipeline::blocking;
use crate::storage::registry::Registry;

pub(in crate::pipeline::admission) struct MutatingAdmissionPolicy {
    policies: Policies,
}

impl MutatingAdmissionPolicy {
    pub(in crate::pipeline::admission) fn new(
        registry: Registry,
        access: AccessControl,
    ) -> MutatingAdmissionPolicy {
        const POLICIES: &str = "mutatingadmissionpolicies";
        const BINDINGS: &str = "mutatingadmissionpolicybindings";
        MutatingAdmissionPolicy { policies: Policies::new(registry, access, (POLICIES, BINDINGS)) }
    }

    async fn policies(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        state: &mut Reinvocation,
    ) -> Result<(), Status> {
        let mut errors = Vec::new();
        // What matches is decided by the object as it was before any of them.
        for invocation in self.invocations(attributes, &mut errors).await? {
            let (changed, failures) = self.invoke(context, attributes, state, &invocation).await?;
            errors.extend(failures);
            if changed {
                state.note_change();
                attributes.note_change();
            }
        }
        errors.retain(|error| !error.policy.ignores_failures);
        if errors.is_empty() { Ok(()) } else { Err(denied(attributes, &errors)) }
    }

    /// The policies that apply to a request, once for each binding and each of its parameters.
    async fn invocations(
        &self,
        attributes: &Attributes<'_>,
        errors: &mut Vec<PolicyError>,
    ) -> Result<Vec<Invocation>, Status> {
        let mut invocations = Vec::new();
        for (stored, bindings) in self.policies.cache.bound().iter() {
            let constraints = &stored.constraints;
            let Some(matched) = self.policies.matched_version(constraints, attributes) else { continue };
            let object = matched.convert(attributes, attributes.object.as_ref()).await?;
            let old = matched.convert(attributes, attributes.old_object).await?;
            let selected = self.policies.namespace_for_selectors(attributes, (constraints, bindings)).await?;
            let selects = |resources: &MatchResources| {
                resources.matches_objects(&object, &old) && resources.matches_namespace(&selected)
            };
            if object.is_null() || !selects(constraints) {
                continue;
            }
            let policy = stored.compiled();
            if let Err(why) = self.policies.param_row(policy) {
                errors.push(PolicyError::configuration(policy, None, &why));
                continue;
            }
            let bound = bindings.iter().filter(|binding| {
                binding.resources.as_ref().is_none_or(|resources| {
                    self.policies.matched_version(resources, attributes).is_some() && selects(resources)
                })
            });
            for binding in bound {
                match self.policies.params(policy, binding, attributes).await {
                    Err(why) => errors.push(PolicyError::configuration(policy, Some(binding), &why)),
                    Ok(params) => invocations.extend(params.into_iter().map(|params| Invocation {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        matched: matched.clone(),
                        params,
                    })),
                }
            }
        }
        Ok(invocations)
    }

    /// Applies the mutations of a policy, each to the object that the one before has left. Returns whether they have changed the
    /// object, and what has failed.
    async fn invoke(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        state: &mut Reinvocation,
        invocation: &Invocation,
    ) -> Result<(bool, Vec<PolicyError>), Status> {
        let Invocation { policy, matched, params, .. } = invocation;
        let before = matched.convert(attributes, attributes.object.as_ref()).await?.into_owned();
        let old_object = matched.convert(attributes, attributes.old_object).await?;
        let namespace: &Value = &self.policies.namespace(attributes, policy).await?;
        let request: &Value = &request_of(context, attributes, matched.row(attributes));
        let old_object: &Value = &old_object;
        let is_used = policy.uses_authorizer();
        let authorizer = &RequestAuthorizer::new(&self.policies.access, context, attributes, is_used).await?;
        let input = PolicyInput { object: &before, old_object, request, namespace, params, authorizer };
        let judge = || policy.meets_conditions(&input);
        match blocking::of_expressions(&input, policy.expressions(), judge) {
            Condition::Met => {}
            Condition::NotMet => return Ok((false, Vec::new())),
            Condition::Failed(why) => return Ok((false, vec![invocation.error(why)])),
        }
        let key = invocation.key();
        if attributes.is_reinvocation() && !state.runs_again(&key) {
            return Ok((false, Vec::new()));
        }
        let mut object = before.clone();
        let mut failures = Vec::new();
        for index in 0.. {
            let input = PolicyInput { object: &object, ..input };
            let change = || policy.mutate(index, &input);
            let Some(mutation) = blocking::of_expressions(&input, policy.expressions(), change) else {
                break;
            };
            match mutation.map_err(Failure::Refused).and_then(|m| changed(matched, attributes, &object, m)) {
                Ok(new) => object = new,
                Err(Failure::Refused(why)) => failures.push(invocation.error(why)),
                Err(Failure::Request(status)) => return Err(status),
            }
        }
        if policy.reinvoked {
            state.note_invoked(&key);
        }
        let is_changed = object != before;
        if is_changed {
            attributes.object = Some(matched.convert_back(attributes, object).await?);
        }
        Ok((is_changed, failures))
    }
}

/// A policy that applies to a request, with one binding and one object of parameters.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    matched: Matched,
    params: Value,
}

impl Invocation {
    /// What identifies it when it is to run again.
    fn key(&self) -> String {
        let of_params = |member: &str| access::text(&self.params, &["metadata", member]);
        let (namespace, name) = (of_params("namespace"), of_params("name"));
        format!("{}/{}/{namespace}/{name}", self.policy.name, self.binding.name)
    }

    fn error(&self, why: String) -> PolicyError {
        let policy = self.policy.clone();
        PolicyError { policy, binding: Some(self.binding.clone()), why, is_invalid: true }
    }
}

/// Why a policy could not be applied.
struct PolicyError {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    why: String,
    /// Whether the object is at fault, and not the policy or its binding.
    is_invalid: bool,
}

impl PolicyError {
    fn configuration(policy: &Arc<Policy>, binding: Option<&Arc<Binding>>, why: &str) -> PolicyError {
        let what = if binding.is_some() { "binding" } else { "policy" };
        let why = format!("failed to configure {what}: {why}");
        PolicyError { policy: policy.clone(), binding: binding.cloned(), why, is_invalid: false }
    }

    fn message(&self) -> String {
        let (policy, why) = (&self.policy.name, &self.why);
        match &self.binding {
            Some(binding) => {
                format!("policy '{policy}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {policy} denied request: {why}", policy = Quoted(policy)),
        }
    }
}

/// Why a mutation was not applied.
enum Failure {
    /// The policy fails.
    Refused(String),
    /// The request fails, whatever the policy's `failurePolicy` is.
    Request(Status),
}

/// The object with a change, decoded and with defaults as the body of a request.
fn changed(
    matched: &Matched,
    attributes: &Attributes<'_>,
    object: &Value,
    mutation: Mutation,
) -> Result<Value, Failure> {
    let row = matched.row(attributes);
    let ty = matched.object_type(attributes).ok_or_else(|| {
        let why = format!("Resource kind {} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.", attributes.kind.kind);
        Failure::Request(status::service_unavailable(why))
    })?;
    let mut new = match mutation {
        Mutation::Configuration(configuration) => merged(&ty, object, configuration)
            .map_err(|why| Failure::Refused(format!("error applying patch: {why}")))?,
        Mutation::Patch(operations) => match patched(&ty, object, &operations)? {
            Some(new) => new,
            None => return Ok(object.clone()),
        },
    };
    if attributes.is_own_kind() {
        row.strategy().default(&mut new);
    }
    Ok(new)
}

/// The object with a configuration merged into it.
fn merged(ty: &ObjectType, object: &Value, mut configuration: Value) -> Result<Value, String> {
    for member in ["apiVersion", "kind"] {
        configuration[member] = object[member].clone();
    }
    managed_fields::validate(ty, &configuration)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let atomics = managed_fields::atomics(ty, &configuration);
    if !atomics.is_empty() {
        let list = atomics.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {list}"
        ));
    }
    let mut new = managed_fields::merge(ty, object, &configuration);
    if !ty.schema().is_structural()
        && let Some(why) = schema::check(ty, &mut new).mismatch
    {
        return Err(why);
    }
    Ok(new)
}

/// The object with a patch applied; `None` if a test of the patch found another value.
fn patched(ty: &ObjectType, object: &Value, operations: &[Value]) -> Result<Option<Value>, Failure> {
    let mut new = object.clone();
    match patch::json::apply(&mut new, operations) {
        Ok(()) => {}
        Err(PatchError::TestFailed(_)) => return Ok(None),
        Err(why) => return Err(Failure::Refused(format!("JSON Patch: {why}"))),
    }
    let refuse = |why: String| Failure::Request(status::internal(why));
    if ["apiVersion", "kind"].iter().any(|member| new.get(member) != object.get(member)) {
        return Err(refuse("a mutation must not change apiVersion or kind".to_owned()));
    }
    if !ty.schema().is_structural() {
        let issues = schema::check(ty, &mut new);
        if let Some(why) = issues.mismatch {
            return Err(refuse(why));
        }
        if !issues.unknown.is_empty() {
            let unknown: Vec<String> = issues
                .unknown
                .iter()
                .map(|path| format!("unknown field {path}", path = Quoted(path)))
                .collect();
            return Err(refuse(format!("strict decoding error: {}", unknown.join(", "))));
        }
    }
    Ok(Some(new))
}

/// The refusal of a request, in the words of the first error.
fn denied(attributes: &Attributes<'_>, errors: &[PolicyError]) -> Status {
    let mut status = attributes.forbidden("");
    if let Some(first) = errors.first() {
        status.message = first.message();
        if first.is_invalid {
            // As upstream, the code stays 403.
            status.reason = "Invalid".into();
        }
    }
    if let Some(details) = &mut status.details {
        let causes = errors.iter().map(|error| Cause { message: error.message(), ..Cause::default() });
        details.causes.extend(causes);
    }
    status
}

#[async_trait]
impl AdmissionPlugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        has_object(attributes.operation) && self.policies.handles(attributes)
    }

    /// Each policy has a rule of its own.
    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        ReinvocationPolicy::PerItem
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if attributes.object.is_none() {
            return Ok(());
        }
        let mut state = attributes.begin_items(self.name());
        let done = self.policies(context, attributes, &mut state).await;
        attributes.finish_items(self.name(), state);
        done
    }
}
