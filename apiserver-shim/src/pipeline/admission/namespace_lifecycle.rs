//! NamespaceLifecycle: refuses creation in a missing or terminating namespace, and deletion of the system namespaces, which
//! the strategy of Namespaces lists.

use std::sync::Arc;

use async_trait::async_trait;
use shim_core::controllers::served;
use shim_model::status::{self, Cause, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

pub(super) struct NamespaceLifecycle {
    registry: Registry,
    namespaces: Arc<ServedResource>,
}

impl NamespaceLifecycle {
    pub(super) fn new(registry: Registry) -> NamespaceLifecycle {
        let namespaces = registry.builtin(&served("", "namespaces"));
        NamespaceLifecycle { registry, namespaces }
    }

    /// Requires that the namespace exists and does not change until the object is written. Otherwise an object could
    /// be created after the content of its namespace was deleted.
    async fn check_namespace(
        &self,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let namespace = attributes.namespace;
        let found = match self.registry.peek(&self.namespaces, "", namespace) {
            Some(found) => found,
            None => self.registry.get(&self.namespaces, "", namespace).await?,
        };
        if found.header().deletion_timestamp.is_some() {
            return Err(terminating(attributes));
        }
        preconditions.require_unchanged(&self.namespaces, &found);
        Ok(())
    }
}

#[async_trait]
impl AdmissionPlugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        match attributes.operation {
            // Reviews are exempt, because an error would reveal whether the namespace exists.
            Operation::Create => {
                attributes.resource.namespaced && attributes.resource.group != "authorization.k8s.io"
            }
            Operation::Delete => true,
            Operation::Update | Operation::Connect => false,
        }
    }

    fn needs_object(&self) -> bool {
        false
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if attributes.operation == Operation::Create {
            return self.check_namespace(attributes, preconditions).await;
        }
        let resource = attributes.resource;
        if let Some(why) = resource.strategy().deletion_refusal(attributes.name) {
            return Err(status::forbidden(&resource.group, &resource.plural, attributes.name, why));
        }
        Ok(())
    }
}

fn terminating(attributes: &Attributes<'_>) -> Status {
    let (resource, namespace) = (attributes.resource, attributes.namespace);
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = status::forbidden(&resource.group, &resource.plural, attributes.object_name(), why);
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        }];
    }
    status
}
