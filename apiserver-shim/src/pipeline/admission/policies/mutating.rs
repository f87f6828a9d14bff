//! MutatingAdmissionPolicy: changes objects by the mutations of bound policies.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::admission_policy::{Mutated, Mutation, Policy, PolicyInput};
use shim_core::admission_webhook::Reinvocation;
use shim_core::cel::Authorize;
use shim_model::patch::json::PatchError;
use shim_model::schema::{self, ObjectType};
use shim_model::status::{self, Status};
use shim_model::{managed_fields, patch};

use super::bindings::Binding;
use super::{Matched, Policies, has_object, request_of};
use crate::auth::authorization::AccessControl;
use crate::pipeline::admission::{
    AdmissionPlugin, Attributes, Preconditions, ReinvocationPolicy, RequestContext,
};
use crate::storage::registry::Registry;

pub(in crate::pipeline::admission) struct MutatingAdmissionPolicy {
    policies: Policies,
}

impl MutatingAdmissionPolicy {
    pub(in crate::pipeline::admission) fn new(
        access: &AccessControl,
        registry: Registry,
    ) -> MutatingAdmissionPolicy {
        const POLICIES: &str = "mutatingadmissionpolicies";
        const BINDINGS: &str = "mutatingadmissionpolicybindings";
        MutatingAdmissionPolicy { policies: Policies::new(access, registry, POLICIES, BINDINGS) }
    }

    async fn policies(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        state: &mut Reinvocation,
    ) -> Result<(), Status> {
        for (policy, bindings) in self.policies.cache.bound().iter() {
            if attributes.is_reinvocation() && !state.runs_again(&policy.name) {
                continue;
            }
            if self.policy(context, attributes, (policy, bindings)).await? {
                state.note_change();
                attributes.note_change();
            }
            if policy.reinvoked {
                state.note_invoked(&policy.name);
            }
        }
        Ok(())
    }

    /// Applies a policy; returns whether it has changed the object.
    async fn policy(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        (policy, bindings): (&Policy, &[Arc<Binding>]),
    ) -> Result<bool, Status> {
        let Some(matched) = self.policies.matched_version(&policy.constraints, attributes) else {
            return Ok(false);
        };
        let mut object = matched.convert(attributes, attributes.object.as_ref()).await?.into_owned();
        let old = matched.convert(attributes, attributes.old_object).await?;
        let selected = self.policies.namespace_for_selectors(attributes, (policy, bindings)).await?;
        let selects = |resources: &shim_core::admission_policy::matching::MatchResources, object: &Value| {
            resources.matches_objects(object, &old) && resources.matches_namespace(&selected)
        };
        if object.is_null() || !selects(&policy.constraints, &object) {
            return Ok(false);
        }
        let namespace = self.policies.namespace(attributes, policy).await?;
        let authorizer = &self.policies.authorizer(context, policy).await;
        let request = request_of(context, attributes, matched.row(attributes));
        let before = object.clone();
        for binding in bindings {
            if let Some(resources) = &binding.resources
                && !(self.policies.matched_version(resources, attributes).is_some()
                    && selects(resources, &object))
            {
                continue;
            }
            let fail = |why: String| match policy.ignores_failures {
                true => Ok(()),
                false => Err(denied(attributes, policy, binding, &why)),
            };
            let params = match self.policies.params(policy, binding, attributes).await {
                Ok(params) => params,
                Err(error) => {
                    fail(format!("failed to configure binding: {error}"))?;
                    continue;
                }
            };
            for params in &params {
                let old_object: &Value = &old;
                let seen = Seen { old_object, request: &request, namespace: &namespace, params, authorizer };
                seen.mutate(policy, (&matched, attributes), &mut object, &fail)?;
            }
        }
        if object == before {
            return Ok(false);
        }
        attributes.object = Some(matched.convert_back(attributes, object).await?);
        Ok(true)
    }
}

/// What a policy's mutations see besides the object.
struct Seen<'a> {
    old_object: &'a Value,
    request: &'a Value,
    namespace: &'a Value,
    params: &'a Value,
    authorizer: &'a Arc<dyn Authorize>,
}

impl Seen<'_> {
    /// Applies the mutations of a policy, each to the object that the one before has left. `fail` decides about errors.
    fn mutate(
        &self,
        policy: &Policy,
        (matched, attributes): (&Matched, &Attributes<'_>),
        object: &mut Value,
        fail: &(dyn Fn(String) -> Result<(), Status> + Sync),
    ) -> Result<(), Status> {
        for index in 0..policy.mutations() {
            let before = object.clone();
            let input = PolicyInput {
                object: &before,
                old_object: self.old_object,
                request: self.request,
                namespace: self.namespace,
                params: self.params,
                authorizer: self.authorizer,
            };
            match policy.mutate(index, &input) {
                Mutated::NotMatched => return Ok(()),
                // The conditions may have failed, so nothing further is known to apply.
                Mutated::Failed(why) if index == 0 => return fail(why),
                Mutated::Failed(why) => fail(why)?,
                Mutated::Change(mutation) => match changed(matched, attributes, object, mutation) {
                    Ok(new) => *object = new,
                    Err(why) => fail(why)?,
                },
            }
        }
        Ok(())
    }
}

/// The object with a change, decoded and with defaults as the body of a request.
fn changed(
    matched: &Matched,
    attributes: &Attributes<'_>,
    object: &Value,
    mutation: Mutation,
) -> Result<Value, String> {
    let row = matched.row(attributes);
    let ty = matched.object_type(attributes);
    let ty: ObjectType = ty.ok_or_else(|| format!("{} has no schema", attributes.kind.kind))?;
    let mut new = match mutation {
        Mutation::Configuration(mut configuration) => {
            let issues = schema::check(&ty, &mut configuration.clone());
            if let Some(why) = issues.mismatch.or_else(|| {
                issues.unknown.first().map(|path| format!(".{path}: field not declared in schema"))
            }) {
                return Err(format!("error applying patch: {why}"));
            }
            for member in ["apiVersion", "kind"] {
                configuration[member] = object[member].clone();
            }
            managed_fields::merge(&ty, object, &configuration)
        }
        Mutation::Patch(operations) => {
            let mut new = object.clone();
            match patch::json::apply(&mut new, &operations) {
                Ok(()) => new,
                // A `test` is a condition of the patch.
                Err(PatchError::TestFailed(_)) => object.clone(),
                Err(error) => return Err(format!("JSON Patch: {error}")),
            }
        }
    };
    for member in ["apiVersion", "kind"] {
        if new.get(member) != object.get(member) {
            return Err(format!("a mutation must not change {member}"));
        }
    }
    if !ty.schema().is_structural() {
        let issues = schema::check(&ty, &mut new);
        if let Some(why) = issues.mismatch {
            return Err(why);
        }
    }
    if attributes.is_own_kind() {
        row.strategy().default(&mut new);
    }
    Ok(new)
}

fn denied(attributes: &Attributes<'_>, policy: &Policy, binding: &Binding, why: &str) -> Status {
    let resource = attributes.resource;
    let message = format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name);
    let mut status = status::forbidden(&resource.group, &resource.plural, attributes.object_name(), &message);
    (status.reason, status.code) = ("Invalid".into(), 422);
    if let Some(details) = &mut status.details {
        details.causes.push(status::Cause { message, ..status::Cause::default() });
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
