//! RoleEscalation: nobody grants permissions that it does not hold, unless it may `escalate` the role or `bind` it. Upstream
//! has the same rules in its storage of roles and bindings, after admission.

use async_trait::async_trait;
use serde_json::Value;
use shim_core::authorization::escalation;
use shim_core::authorization::index::{Binding, UnknownRole};
use shim_core::authorization::{AccessRequest, PolicyRule, RequestedResource};
use shim_core::kinds::rbac::GROUP;
use shim_model::access;
use shim_model::status::{self, Details, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, ReinvocationPolicy, RequestContext};
use crate::auth::authentication::{MASTERS, User};
use crate::auth::authorization::{AccessControl, subject};

pub(super) struct RoleEscalation {
    access: AccessControl,
}

impl RoleEscalation {
    pub(super) fn new(access: AccessControl) -> RoleEscalation {
        RoleEscalation { access }
    }

    async fn may(&self, user: &User, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let of =
            RequestedResource { group: GROUP, resource, namespace, name, ..RequestedResource::default() };
        self.access.decide(user, &AccessRequest::resource(verb, of)).await.allowed
    }

    /// Why the user may not grant these rules in a namespace; empty for the whole cluster.
    fn refusal(&self, user: &User, namespace: &str, rules: &[PolicyRule]) -> Option<String> {
        let subject = subject(user);
        let (held, unknown) = self.access.rbac().rules_for(&subject, namespace);
        escalation::refusal(&subject, &held, rules, &unknown)
    }

    async fn check_role(&self, user: &User, attributes: &Attributes<'_>, role: &Value) -> Result<(), String> {
        let Attributes { namespace, name, .. } = *attributes;
        if self.may(user, "escalate", &attributes.resource.plural, namespace, name).await {
            return Ok(());
        }
        if attributes.old_object.is_some_and(|old| only_deletion_differs(role, old)) {
            return Ok(());
        }
        if let Some(why) = self.refusal(user, namespace, &PolicyRule::all_of(role)) {
            return Err(why);
        }
        let is_aggregated = |role: &Value| role.get("aggregationRule").is_some_and(Value::is_object);
        let aggregated = is_aggregated(role) || attributes.old_object.is_some_and(is_aggregated);
        match aggregated && self.refusal(user, "", &PolicyRule::full_authority()).is_some() {
            true => Err("must have cluster-admin privileges to use the aggregationRule".to_owned()),
            false => Ok(()),
        }
    }

    async fn check_binding(
        &self,
        user: &User,
        attributes: &Attributes<'_>,
        object: &Value,
    ) -> Result<(), Status> {
        if attributes.old_object.is_some_and(|old| only_deletion_differs(object, old)) {
            return Ok(());
        }
        let (role, namespace) = (Binding::of(object).role, attributes.namespace);
        let resource = match role.kind.as_str() {
            "Role" => Some("roles"),
            "ClusterRole" => Some("clusterroles"),
            _ => None,
        };
        if let Some(resource) = resource
            && self.may(user, "bind", resource, namespace, &role.name).await
        {
            return Ok(());
        }
        let rules = self.access.rbac().rules_of(&role, namespace).map_err(unknown_role)?;
        match self.refusal(user, namespace, &rules) {
            Some(why) => Err(forbidden(attributes, &why)),
            None => Ok(()),
        }
    }
}

fn forbidden(attributes: &Attributes<'_>, why: &str) -> Status {
    status::forbidden(GROUP, &attributes.resource.plural, attributes.object_name(), why)
}

fn unknown_role(role: UnknownRole) -> Status {
    if !matches!(role.kind.as_str(), "Role" | "ClusterRole") {
        return status::internal(role);
    }
    let details = Details {
        name: role.name.clone(),
        group: GROUP.to_owned(),
        kind: role.kind.to_lowercase(),
        ..Details::default()
    };
    Status { details: Some(Box::new(details)), ..Status::failure(404, "NotFound", role.to_string()) }
}

/// Whether an update changes nothing but what leads to the object's deletion: owners and finalizers.
fn only_deletion_differs(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        for member in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            access::remove(&mut object, &["metadata", member]);
        }
        object
    };
    rest(new) == rest(old)
}

#[async_trait]
impl AdmissionPlugin for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && attributes.resource.group == GROUP
    }

    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        ReinvocationPolicy::IfNeeded
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let user = &*context.user;
        if context.is_internal() || user.is_in(MASTERS) {
            return Ok(());
        }
        let Some(object) = &attributes.object else { return Ok(()) };
        match attributes.resource.plural.as_str() {
            "roles" | "clusterroles" => {
                let checked = self.check_role(user, attributes, object).await;
                checked.map_err(|why| forbidden(attributes, &why))
            }
            _ => self.check_binding(user, attributes, object).await,
        }
    }
}
