//! PodResizeValidator: a Pod is not resized beyond what its node can give to Pods at all, nor on a node without Linux.

use async_trait::async_trait;
use shim_core::controllers::served;
use shim_core::kinds::admission as rules;
use shim_model::access;
use shim_model::go_quote::Quoted;
use shim_model::status::{Cause, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::registry::Registry;

pub(super) struct PodResizeValidator {
    registry: Registry,
}

impl PodResizeValidator {
    pub(super) fn new(registry: Registry) -> PodResizeValidator {
        PodResizeValidator { registry }
    }
}

#[async_trait]
impl AdmissionPlugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update
            && attributes.subresource == "resize"
            && attributes.resource.is("", "pods")
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (&attributes.object, attributes.old_object) else { return Ok(()) };
        let name = access::text(pod, &["spec", "nodeName"]);
        // Upstream compares generations, which count the changes of the spec.
        if name.is_empty() || pod["spec"] == old["spec"] {
            return Ok(());
        }
        let Some(node) = self.registry.peek(served("", "nodes"), "", name) else {
            return Err(attributes.forbidden(format!("node {} not found", Quoted(name))));
        };
        rules::check_node_resize(pod, &node.value()).map_err(|refusal| {
            let mut status = attributes.forbidden(&refusal);
            if let Some(details) = &mut status.details {
                let reason = refusal.cause().to_owned();
                details.causes.push(Cause { reason, message: String::new(), field: String::new() });
            }
            status
        })
    }
}
