//! RuntimeClass: refuses Pods that name a RuntimeClass.

use async_trait::async_trait;
use shim_core::kinds::admission as rules;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};

/// RuntimeClasses are stored, but nodes do not use them yet; so a Pod that names one is refused as if it did not exist.
pub(super) struct RuntimeClass;

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
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        attributes.object.as_ref().map_or(Ok(()), rules::runtime_class)
    }
}
