//! Who decides about access for expressions of policies and webhooks.

use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_core::cel::{AccessAttributes, Authorizer, Decision, ResourceAttributes};
use shim_model::selector::FieldSelector;
use shim_model::status::Status;

use super::{Attributes, RequestContext};
use crate::auth::authentication::User;
use crate::auth::authorization::AccessControl;

/// Decides for the user of a request, from what is cached.
pub(super) struct RequestAuthorizer<'a> {
    access: &'a AccessControl,
    user: &'a User,
    requested: ResourceAttributes,
}

impl<'a> RequestAuthorizer<'a> {
    /// Creates one for a request. If it `is_used`, the caches first catch up with the writes that are acknowledged.
    pub async fn new(
        access: &'a AccessControl,
        context: &'a RequestContext,
        attributes: &Attributes<'_>,
        is_used: bool,
    ) -> Result<RequestAuthorizer<'a>, Status> {
        if is_used {
            access.catch_up().await?;
        }
        let requested = ResourceAttributes {
            group: attributes.resource.group.clone(),
            resource: attributes.resource.plural.clone(),
            subresource: attributes.subresource.to_owned(),
            namespace: attributes.namespace.to_owned(),
            name: attributes.name.to_owned(),
            ..ResourceAttributes::default()
        };
        Ok(RequestAuthorizer { access, user: &context.user, requested })
    }
}

impl Authorizer for RequestAuthorizer<'_> {
    fn decide(&self, account: Option<(&str, &str)>, verb: &str, what: &AccessAttributes) -> Decision {
        let account = account.map(|(namespace, name)| User::named_service_account(namespace, name));
        let user = account.as_ref().unwrap_or(self.user);
        let decision = match what {
            AccessAttributes::Path(path) => self.access.authorize(user, &AccessRequest::path(verb, path)),
            AccessAttributes::Resource(asked) => {
                let selector = FieldSelector::parse(&asked.field_selector).ok();
                let fields = selector.as_ref().map_or(&[][..], |selector| &selector.terms);
                let resource = RequestedResource {
                    group: &asked.group,
                    resource: &asked.resource,
                    subresource: &asked.subresource,
                    namespace: &asked.namespace,
                    name: &asked.name,
                    fields,
                };
                self.access.authorize(user, &AccessRequest::resource(verb, resource))
            }
        };
        Decision { allowed: decision.allowed, reason: decision.reason }
    }

    fn requested(&self) -> ResourceAttributes {
        self.requested.clone()
    }
}
