//! The errors of a write of a ResourceClaim that depend on its namespace and on what the writer may do. Upstream reports them together
//! with those of the object.

use serde_json::Value;
use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_core::controllers::served;
use shim_core::kinds::Subresource;
use shim_core::kinds::device::privileges::{self, GROUP};
use shim_model::field::FieldError;

use super::{ObjectRef, Pipeline, RequestContext};
use crate::auth::authentication::{MASTERS, User};
use crate::auth::authorization::refusal;

/// What follows the name of a service account's node in the user's `extra`.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

impl Pipeline {
    /// The errors of a write; none for resources other than claims and their templates.
    pub(super) async fn claim_errors(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        part: Subresource<'_>,
        new: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        if target.resource.group != GROUP {
            return Vec::new();
        }
        // What the write is prepared to be is compared.
        let mut prepared = new.clone();
        if let (Subresource::Status, Some(old)) = (part, old) {
            target.resource.strategy().prepare_status_update(&mut prepared, old);
        }
        let mut errors = Vec::new();
        if let Some(field) = privileges::admin_access(&target.resource.kind, part, &prepared, old) {
            let namespace = self.registry.get(served("", "namespaces"), "", target.namespace).await.ok();
            let namespace = namespace.map(|found| found.value());
            errors.extend(privileges::check_admin_access(&field, namespace.as_ref()));
        }
        let is_status = part == Subresource::Status && target.resource.kind == "ResourceClaim";
        if let (true, Some(old)) = (is_status && !context.is_internal(), old) {
            errors.extend(self.status_errors(context, target, &prepared, old).await);
        }
        errors
    }

    async fn status_errors(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        new: &Value,
        old: &Value,
    ) -> Vec<FieldError> {
        let (user, verb, mut errors) = (&*context.user, context.verb, Vec::new());
        if user.is_in(MASTERS) {
            return errors;
        }
        if privileges::changes_binding(new, old) {
            let of = RequestedResource {
                group: GROUP,
                resource: "resourceclaims",
                subresource: "binding",
                ..RequestedResource::default()
            };
            if let Some(why) = self.refusal_of(user, &AccessRequest::resource(verb, of)).await {
                let why = format!(
                    "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
                );
                errors.push(FieldError::forbidden("status.allocation", why));
            }
        }
        let node = user.extra.get(NODE_NAME).map(Vec::as_slice);
        let is_near = matches!(node, Some([name]) if privileges::allocated_node(new) == Some(name.as_str()))
            && user.name.starts_with("system:serviceaccount:");
        let mut verbs = vec![format!("arbitrary-node:{verb}")];
        if is_near {
            verbs.insert(0, format!("associated-node:{verb}"));
        }
        for driver in privileges::changed_drivers(new, old) {
            let of = RequestedResource {
                group: GROUP,
                resource: "resourceclaims",
                subresource: "driver",
                namespace: target.namespace,
                name: &driver,
                ..RequestedResource::default()
            };
            let mut refused = None;
            for verb in &verbs {
                match self.refusal_of(user, &AccessRequest::resource(verb, of)).await {
                    None => {
                        refused = None;
                        break;
                    }
                    Some(why) => refused = refused.or(Some(why)),
                }
            }
            if let Some(why) = refused {
                let why = format!(
                    "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {why}",
                    verbs.join(" ")
                );
                errors.push(FieldError::forbidden("status.devices", why));
            }
        }
        errors
    }

    /// The message of the refusal, unless the user may do it.
    async fn refusal_of(&self, user: &User, request: &AccessRequest<'_>) -> Option<String> {
        let decision = self.access.decide(user, request).await;
        (!decision.allowed).then(|| refusal(user, request, &decision.reason).message)
    }
}
