//! TaintNodesByCondition: taints a new Node as not ready, so that no Pod is scheduled to it before it reports.

use async_trait::async_trait;
use serde_json::Value;
use shim_core::kinds::admission as rules;
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl AdmissionPlugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("nodes")
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(node) = &mut attributes.object
            && !registers_itself_as_ready(context, node)
        {
            rules::not_ready_yet(node);
        }
        Ok(())
    }
}

/// Whether a node creates its own Node object with a ready status. Its agent has registered and reported already, so
/// the taint would only last until the node lifecycle controller's next reconcile.
fn registers_itself_as_ready(context: &RequestContext, node: &Value) -> bool {
    let name = access::text(node, &["metadata", "name"]);
    let ready = |c: &Value| access::text(c, &["type"]) == "Ready" && access::text(c, &["status"]) == "True";
    context.user.name.strip_prefix("system:node:") == Some(name)
        && access::list(node, &["status", "conditions"]).iter().any(ready)
}
