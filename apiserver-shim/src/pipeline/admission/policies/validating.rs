//! ValidatingAdmissionPolicy: denies, warns or annotates by the validations of bound policies.

use async_trait::async_trait;
use serde_json::{Value, json};
use shim_core::admission_policy::{Decision, Policy, PolicyInput, Validated};
use shim_model::status::{self, Cause, Status};

use super::bindings::{Binding, StoredPolicy};
use super::{Policies, request_of};
use crate::auth::authorization::AccessControl;
use crate::pipeline::admission::authorizer::RequestAuthorizer;
use crate::pipeline::admission::{AdmissionPlugin, Attributes, Preconditions, RequestContext};
use crate::pipeline::blocking;
use crate::storage::registry::Registry;

/// Bytes of a value of an audit annotation.
const ANNOTATION_MAX: usize = 10 * 1024;

pub(in crate::pipeline::admission) struct ValidatingAdmissionPolicy {
    policies: Policies,
}

/// The first denial of a request: the policy, the binding, and why.
type Denial = Option<(String, Option<String>, Decision)>;

impl ValidatingAdmissionPolicy {
    pub(in crate::pipeline::admission) fn new(
        registry: Registry,
        access: AccessControl,
    ) -> ValidatingAdmissionPolicy {
        const POLICIES: &str = "validatingadmissionpolicies";
        const BINDINGS: &str = "validatingadmissionpolicybindings";
        ValidatingAdmissionPolicy { policies: Policies::new(registry, access, (POLICIES, BINDINGS)) }
    }

    async fn policy(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (stored, bindings): (&StoredPolicy, &[std::sync::Arc<Binding>]),
    ) -> Result<Denial, Status> {
        let constraints = &stored.constraints;
        let Some(matched) = self.policies.matched_version(constraints, attributes) else { return Ok(None) };
        let object = matched.convert(attributes, attributes.object.as_ref()).await?;
        let old = matched.convert(attributes, attributes.old_object).await?;
        let selected = self.policies.namespace_for_selectors(attributes, (constraints, bindings)).await?;
        if !constraints.matches_objects(&object, &old) || !constraints.matches_namespace(&selected) {
            return Ok(None);
        }
        let policy = &**stored.compiled();
        if let Err(error) = self.policies.param_row(policy) {
            let message = format!("failed to configure policy: {error}");
            let decision = Decision { index: 0, message, reason: String::new() };
            return Ok((!policy.ignores_failures).then(|| (policy.name.clone(), None, decision)));
        }
        let namespace = self.policies.namespace(attributes, policy).await?;
        let request = request_of(context, attributes, matched.row(attributes));
        let is_used = policy.uses_authorizer();
        let authorizer = &RequestAuthorizer::new(&self.policies.access, context, attributes, is_used).await?;
        let mut denial = None;
        let mut annotations = Annotations::default();
        for binding in bindings {
            if !self.is_bound(binding, attributes, (&object, &old, &selected)) {
                continue;
            }
            let params = match self.policies.params(policy, binding, attributes).await {
                Ok(params) => params,
                Err(_) if policy.ignores_failures => continue,
                Err(error) => {
                    let message = format!("failed to configure binding: {error}");
                    let decision = Decision { index: 0, message, reason: String::new() };
                    denial = denial.or(Some((policy.name.clone(), Some(binding.name.clone()), decision)));
                    continue;
                }
            };
            for params in &params {
                let old_object: &Value = &old;
                let input = PolicyInput {
                    object: &object,
                    old_object,
                    request: &request,
                    namespace: &namespace,
                    params,
                    authorizer,
                };
                let judge = || policy.validate(&input);
                let found = blocking::of_expressions(&input, policy.expressions(), judge);
                let denied = enforce(context, policy, binding, found, &mut annotations);
                denial = denial.or(denied);
            }
        }
        annotations.publish(context, &policy.name);
        Ok(denial)
    }

    fn is_bound(
        &self,
        binding: &Binding,
        attributes: &Attributes<'_>,
        (object, old, namespace): (&Value, &Value, &Value),
    ) -> bool {
        let Some(resources) = &binding.resources else { return true };
        self.policies.matched_version(resources, attributes).is_some()
            && resources.matches_objects(object, old)
            && resources.matches_namespace(namespace)
    }
}

/// Takes the binding's actions for what a policy has found; returns the first denial.
fn enforce(
    context: &RequestContext,
    policy: &Policy,
    binding: &Binding,
    found: Validated,
    annotations: &mut Annotations,
) -> Denial {
    let mut denial = None;
    let denied = |decision: Decision| Some((policy.name.clone(), Some(binding.name.clone()), decision));
    for decision in found.denied {
        for action in &binding.actions {
            match action.as_str() {
                "Deny" => denial = denial.or_else(|| denied(decision.clone())),
                "Warn" => context.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, decision.message
                )),
                "Audit" => {
                    let failure = json!([{
                        "message": decision.message,
                        "policy": policy.name,
                        "binding": binding.name,
                        "expressionIndex": decision.index,
                        "validationActions": binding.actions,
                    }]);
                    context.annotate(
                        "validation.policy.admission.k8s.io/validation_failure",
                        failure.to_string(),
                    );
                }
                _ => {}
            }
        }
    }
    found.annotations.into_iter().for_each(|(key, value)| annotations.add(key, value));
    for message in found.failed_annotations {
        denial = denial.or_else(|| denied(Decision { index: 0, message, reason: String::new() }));
    }
    denial
}

/// The audit annotations of a policy: those of several bindings are joined.
#[derive(Default)]
struct Annotations(Vec<(String, Vec<String>)>);

impl Annotations {
    fn add(&mut self, key: String, mut value: String) {
        if value.len() > ANNOTATION_MAX {
            let end = (0..=ANNOTATION_MAX).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
            value.truncate(end);
        }
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.0.push((key, vec![value])),
        }
    }

    fn publish(self, context: &RequestContext, policy: &str) {
        for (key, values) in self.0 {
            context.annotate(&format!("{policy}/{key}"), values.join(", "));
        }
    }
}

/// The status of a denied request.
fn denied(
    attributes: &Attributes<'_>,
    (policy, binding, decision): (String, Option<String>, Decision),
) -> Status {
    let with = binding.map(|binding| format!(" with binding '{binding}'")).unwrap_or_default();
    let message = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {}", decision.message);
    let resource = attributes.resource;
    let mut status = status::forbidden(&resource.group, &resource.plural, attributes.object_name(), &message);
    (status.reason, status.code) = match decision.reason.as_str() {
        "Unauthorized" => ("Unauthorized".into(), 401),
        "Forbidden" => ("Forbidden".into(), 403),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge".into(), 413),
        _ => ("Invalid".into(), 422),
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message, ..Cause::default() });
    }
    status
}

#[async_trait]
impl AdmissionPlugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        self.policies.handles(attributes)
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let mut first: Denial = None;
        for (policy, bindings) in self.policies.cache.bound().iter() {
            let denial = self.policy(context, attributes, (policy, bindings)).await?;
            first = first.or(denial);
        }
        first.map_or(Ok(()), |denial| Err(denied(attributes, denial)))
    }
}
