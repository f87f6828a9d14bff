//! RuntimeClass: gives new Pods the overhead, node selector and tolerations of the RuntimeClass that they name.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::runtime_class as rules;
use shim_model::status::{self, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

pub(super) struct RuntimeClass {
    registry: Registry,
    classes: Arc<ServedResource>,
}

impl RuntimeClass {
    pub(super) fn new(registry: Registry) -> RuntimeClass {
        let classes = registry.builtin(&served("node.k8s.io", "runtimeclasses"));
        RuntimeClass { registry, classes }
    }

    /// The class that a Pod names. The cache may be older than the class, so one that it lacks is looked up again. One that it
    /// has may not change until the Pod is written, because the cache may lag behind a deletion, too.
    async fn class_of(
        &self,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<Option<Value>, Status> {
        let Some(name) = attributes.object.as_ref().and_then(rules::name_of) else { return Ok(None) };
        if name.is_empty() {
            // What upstream's client says.
            return Err(status::unclassified("resource name may not be empty"));
        }
        let found = match self.registry.peek(&self.classes, "", name) {
            Some(class) => class,
            None => match self.registry.get(&self.classes, "", name).await {
                Ok(class) => class,
                Err(missing) if missing.code == 404 => {
                    return Err(attributes.forbidden(rules::not_found(name)));
                }
                Err(error) => return Err(error),
            },
        };
        preconditions.require_unchanged(&self.classes, &found);
        Ok(Some(found.value()))
    }
}

#[async_trait]
impl AdmissionPlugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("pods")
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(class) = self.class_of(attributes, preconditions).await? else { return Ok(()) };
        let applied = attributes.object.as_mut().map_or(Ok(()), |pod| rules::apply(pod, &class));
        applied.map_err(|why| attributes.forbidden(why))
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let class = self.class_of(attributes, preconditions).await?;
        let checked =
            attributes.object.as_ref().map_or(Ok(()), |pod| rules::check_overhead(pod, class.as_ref()));
        checked.map_err(|why| attributes.forbidden(why))
    }
}
