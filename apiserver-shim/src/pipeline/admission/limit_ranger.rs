//! LimitRanger: gives containers the default requests and limits of the namespace's LimitRanges, and refuses Pods and claims
//! that are outside their bounds.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::limit_ranges::{check_claim, check_pod, set_defaults};
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

pub(super) struct LimitRanger {
    ranges: Arc<ServedResource>,
}

impl LimitRanger {
    pub(super) fn new(registry: &Registry) -> LimitRanger {
        LimitRanger { ranges: registry.builtin(&served("", "limitranges")) }
    }

    /// The LimitRanges that apply; none to an object that is being deleted.
    fn ranges(&self, attributes: &Attributes<'_>) -> Vec<Value> {
        let is_terminating = |old: &Value| access::get(old, &["metadata", "deletionTimestamp"]).is_some();
        if attributes.old_object.is_some_and(is_terminating) {
            return Vec::new();
        }
        self.ranges.cache().view().iter(Some(attributes.namespace)).map(|range| range.value()).collect()
    }
}

#[async_trait]
impl AdmissionPlugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let resource = attributes.resource;
        match attributes.operation {
            Operation::Create => attributes.is_core("pods") || attributes.is_core("persistentvolumeclaims"),
            Operation::Update => {
                attributes.is_core("persistentvolumeclaims")
                    || attributes.subresource == "resize" && resource.is("", "pods")
            }
            Operation::Delete | Operation::Connect => false,
        }
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if attributes.resource.is("", "pods") {
            let ranges = self.ranges(attributes);
            if let Some(pod) = &mut attributes.object {
                ranges.iter().for_each(|range| set_defaults(range, pod));
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let check = if attributes.resource.is("", "pods") { check_pod } else { check_claim };
        for range in self.ranges(attributes) {
            check(&range, object).map_err(|why| attributes.forbidden(why))?;
        }
        Ok(())
    }
}
