//! Fast path for Events of this process's components. They arrive encoded, because nearly all are written once and
//! never read. Stamps, defaults and validation of a create are already applied; a test compares the result with the
//! general path.

use serde_json::Value;
use shim_core::controllers::served;
use shim_model::object::StoredObject;
use shim_model::status::{self, Status};

use super::commit::{self, CommitError, Expect};
use super::component_audit::close_audit;
use super::{Attributes, ObjectRef, Operation, Pipeline, Preconditions, RequestContext};

impl Pipeline {
    /// Creates an encoded Event that has a name, UID and creation timestamp. Returns its revision.
    pub async fn record_event(&self, context: &RequestContext, event: StoredObject) -> Result<u64, Status> {
        let (events, header) = (self.registry.builtin(&served("", "events")), event.header.clone());
        let target = ObjectRef::new(&events, &header.namespace, "");
        let audit = self.open_audit(context, &target, "").await;
        let recorded = self.put_event(context, event).await;
        close_audit(audit, 201, recorded.as_ref()).await;
        recorded
    }

    async fn put_event(&self, context: &RequestContext, event: StoredObject) -> Result<u64, Status> {
        let resource = &self.registry.builtin(&served("", "events"));
        let header = event.header.clone();
        if let Some(preconditions) = self.admit_encoded_event(context, &event).await? {
            match commit::put(&self.registry, resource, event.clone(), Expect::Absent, &preconditions).await {
                Ok(object) => return Ok(object.revision),
                Err(CommitError::Conflict(_)) => return Err(status::already_exists(resource, &header.name)),
                // The namespace has changed: the general path checks it again.
                Err(CommitError::Precondition(_)) => {}
                Err(CommitError::Status(status)) => return Err(status),
            }
        }
        let decoded: Value = serde_json::from_slice(&event.bytes).map_err(status::internal)?;
        let target = ObjectRef::new(resource, &header.namespace, "");
        let again = || Ok(decoded.clone());
        let created = self.create_from(context, target, decoded.clone(), again).await;
        created.map(|outcome| outcome.revision())
    }

    /// The preconditions of an Event's transaction; `None` if a plugin needs the decoded Event.
    pub(super) async fn admit_encoded_event(
        &self,
        context: &RequestContext,
        event: &StoredObject,
    ) -> Result<Option<Preconditions>, Status> {
        let resource = &self.registry.builtin(&served("", "events"));
        let mut attributes = Attributes::new(Operation::Create, resource, &event.header.namespace);
        attributes.name = &event.header.name;
        if !self.admission.does_without_object(&attributes) {
            return Ok(None);
        }
        let mut preconditions = Preconditions::default();
        self.admission.admit(context, &mut attributes, &mut preconditions).await?;
        self.admission.validate(context, &attributes, &mut preconditions).await?;
        Ok(Some(preconditions))
    }
}
