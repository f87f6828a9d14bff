//! PodTopologyLabels: a Pod that is bound to a node, or created on one, gets the labels of the node's zone and region.

use async_trait::async_trait;
use shim_core::controllers::served;
use shim_core::scheduler::topology_labels;
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::registry::Registry;

pub(super) struct PodTopologyLabels {
    registry: Registry,
}

impl PodTopologyLabels {
    pub(super) fn new(registry: Registry) -> PodTopologyLabels {
        PodTopologyLabels { registry }
    }
}

#[async_trait]
impl AdmissionPlugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && attributes.resource.is("", "pods")
            && matches!(attributes.subresource, "" | "binding")
    }

    /// The scheduler's prepared bindings have the labels already.
    fn needs_object(&self) -> bool {
        false
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let is_binding = attributes.subresource == "binding";
        let Some(object) = &mut attributes.object else { return Ok(()) };
        let node = match is_binding {
            true if access::text(object, &["target", "kind"]) != "Node" => return Ok(()),
            true => access::text(object, &["target", "name"]),
            false => access::text(object, &["spec", "nodeName"]),
        };
        if node.is_empty() {
            return Ok(());
        }
        if let Some(node) = self.registry.peek(served("", "nodes"), "", node) {
            let labels = topology_labels(&node.header().labels);
            if !labels.is_empty() {
                access::object_mut(object, &["metadata", "labels"]).extend(labels);
            }
        }
        Ok(())
    }
}
