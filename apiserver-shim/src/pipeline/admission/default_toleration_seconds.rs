//! DefaultTolerationSeconds: Pods tolerate a not-ready or unreachable node for five minutes, unless they specify
//! otherwise.

use async_trait::async_trait;
use shim_core::kinds::admission as rules;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl AdmissionPlugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update) && attributes.is_core("pods")
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(pod) = &mut attributes.object {
            rules::default_tolerations(pod);
        }
        Ok(())
    }
}
