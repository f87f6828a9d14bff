//! Creation of objects.

use serde_json::Value;
use shim_core::kinds::{self, CreateContext, Subresource};
use shim_model::access;
use shim_model::status::{self, Status};
use store::Key;

use super::blocking;
use super::commit::{self, CommitError, Expect};
use super::component_audit::close_audit;
use super::{
    Attributes, CONFLICT_RETRIES_MAX, ObjectRef, Operation, Pipeline, Preconditions, RequestContext,
    WriteOutcome, gave_up,
};
use crate::storage::object::encoded;
use crate::storage::registry::{generate_name, now};
use crate::storage::service_addresses;

/// Attempts to generate a free name (as upstream).
const GENERATE_NAME_TRIES: usize = 8;

impl Pipeline {
    /// Creates a decoded object.
    pub async fn create(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        decoded: Value,
    ) -> Result<WriteOutcome, Status> {
        let audit = self.open_audit(context, &target, "").await;
        if let Some(audit) = &audit {
            audit.complete_object(&decoded);
        }
        let created = self.create_from(context, target, decoded.clone(), || Ok(decoded.clone())).await;
        close_audit(audit, 201, created.as_ref()).await;
        created
    }

    /// Creates an object from a function that decodes it. It is decoded again for each further attempt: when the
    /// generated name is taken or a precondition failed.
    #[tracing::instrument(name = "write", skip_all, fields(audit_id = %context.audit_id, verb = context.verb, resource = target.resource.plural, namespace = target.namespace, name = target.name))]
    pub async fn create_from(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        mut decoded: Value,
        again: impl Fn() -> Result<Value, Status> + Send,
    ) -> Result<WriteOutcome, Status> {
        let generated = access::text(&decoded, &["metadata", "name"]).is_empty();
        let (mut names, mut broken) = (0, None);
        for _ in 0..CONFLICT_RETRIES_MAX {
            match self.create_once(context, &target, decoded, broken.as_ref()).await {
                Ok(outcome) => return Ok(outcome),
                Err(CommitError::Precondition(key)) => {
                    self.catch_up(&key).await?;
                    broken = Some(key);
                }
                Err(CommitError::Status(taken))
                    if generated && taken.reason == "AlreadyExists" && names < GENERATE_NAME_TRIES =>
                {
                    names += 1;
                }
                Err(CommitError::Status(status)) => return Err(status),
                Err(CommitError::Conflict(_)) => return Err(status::modified(target.resource, target.name)),
            }
            decoded = again()?;
        }
        Err(gave_up(&target, broken.as_ref()))
    }

    /// One attempt. `broken` is the precondition that failed in the previous one.
    async fn create_once(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        mut object: Value,
        broken: Option<&Key>,
    ) -> Result<WriteOutcome, CommitError> {
        let ObjectRef { resource, namespace, .. } = *target;
        let strategy = resource.strategy();
        let is_unlabelled = access::get(&object, &["metadata", "labels"]).is_none_or(access::is_zero);
        context.default(strategy, &mut object);
        kinds::begin_admission(resource, namespace, &mut object)?;
        let name = access::text(&object, &["metadata", "name"]).to_owned();
        self.deduplicate_owners(context, &mut object, false);
        self.record_fields(context, (resource, ""), None, &mut object).await;
        let mut preconditions = Preconditions::default();
        let mut attributes = Attributes::new(Operation::Create, resource, namespace);
        (attributes.name, attributes.object) = (&name, Some(object));
        self.admission.admit(context, &mut attributes, &mut preconditions).await?;
        let mut object = attributes.object.take().unwrap_or_default();
        self.deduplicate_owners(context, &mut object, true);
        if service_addresses::concerns(resource) {
            // Addresses that were just released must be seen as free.
            self.registry.fresh().await?;
        }
        self.begin(context, target, (&mut object, is_unlabelled), (&mut preconditions, broken)).await?;
        strategy.warnings(&object, None).into_iter().for_each(|warning| context.warn(warning));
        let generated = access::text(&object, &["metadata", "name"]).to_owned();
        if attributes.name.is_empty() {
            attributes.name = &generated;
        }
        attributes.object = Some(object);
        self.admission.validate(context, &attributes, &mut preconditions).await?;
        let mut object = attributes.object.take().unwrap_or_default();
        let name = access::text(&object, &["metadata", "name"]).to_owned();
        if context.dry_run {
            return match self.registry.get(resource, namespace, &name).await {
                Ok(_) => Err(self.exists(target, &name).into()),
                Err(_) => Ok(WriteOutcome { unstored: Some(object), stored: None, created: true }),
            };
        }
        kinds::take_version(&mut object)?;
        service_addresses::record(&self.registry, resource, (Some(&object), None), &mut preconditions);
        let stored = encoded(&resource.to_stored(object).await?);
        match commit::put(&self.registry, resource, stored, Expect::Absent, &preconditions).await {
            Ok(object) => Ok(WriteOutcome { unstored: None, stored: Some(object), created: true }),
            Err(CommitError::Conflict(found)) => {
                let terminating = found.is_some_and(|o| o.header().deletion_timestamp.is_some());
                Err(already_exists(target, &name, terminating).into())
            }
            Err(error) => Err(error),
        }
    }

    /// Prepares and validates an admitted object, and chooses its addresses.
    async fn begin(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        (object, is_unlabelled): (&mut Value, bool),
        (preconditions, broken): (&mut Preconditions, Option<&Key>),
    ) -> Result<(), CommitError> {
        let ObjectRef { resource, namespace, .. } = *target;
        let suffix = match access::text(object, &["metadata", "name"]) {
            "" => generate_name(""),
            _ => String::new(), // Not needed: drawing one costs a system call.
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let create = CreateContext { namespace, uid: &uid, now: now(), suffix: &suffix, is_unlabelled };
        // A dry run also chooses addresses, but does not claim them.
        let attempt = service_addresses::Attempt { broken, dry_run: context.dry_run };
        preconditions.extend(self.allocate_addresses(resource, object, None, attempt)?);
        let warnings = resource.strategy().preparation_warnings(object);
        warnings.into_iter().for_each(|warning| context.warn(warning));
        let found = self.claim_errors(context, target, Subresource::Main, object, None).await;
        let is_large = blocking::is_large(object);
        let begin = || kinds::begin_create_with(resource, object, &create, found);
        context.judge(blocking::of_write(resource, is_large, begin))?;
        Ok(())
    }

    fn exists(&self, target: &ObjectRef<'_>, name: &str) -> Status {
        let found = self.registry.peek(target.resource, target.namespace, name);
        already_exists(target, name, found.is_some_and(|o| o.header().deletion_timestamp.is_some()))
    }
}

fn already_exists(target: &ObjectRef<'_>, name: &str, terminating: bool) -> Status {
    match terminating {
        true => status::already_exists_terminating(target.resource, name),
        false => status::already_exists(target.resource, name),
    }
}

impl From<Status> for CommitError {
    fn from(status: Status) -> Self {
        CommitError::Status(status)
    }
}
