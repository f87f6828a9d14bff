//! Updates of objects: PUT, PATCH, subresources, and read-modify-write by components.

use std::sync::Arc;

use serde_json::Value;
use shim_core::kinds::{self, Effect, Subresource};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::managed_fields;
use shim_model::patch::{self, PatchKind};
use shim_model::resource::{KindRef, Resource};
use shim_model::status::{self, Status};
use store::Key;

use super::binding::BINDING;
use super::blocking;
use super::commit::{self, CommitError, Expect};
use super::component_audit::close_audit;
use super::{
    Attributes, CONFLICT_RETRIES_MAX, ObjectRef, Operation, Pipeline, Preconditions, RequestContext,
    WriteOutcome, gave_up, subresource_name,
};
use crate::storage::catalog::ServedResource;
use crate::storage::object::{Object, encoded, set_resource_version};
use crate::storage::registry::is_released;
use crate::storage::service_addresses;
use shim_model::go_quote::go_quote;

/// A subresource with an object type of its own, such as `scale`, which is a view of the object. Admission sees the
/// view.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The subresource.
    pub subresource: &'static str,
    /// The kind of the view.
    pub kind: KindRef<'static>,
    /// Builds the view from the object.
    pub read: &'a (dyn Fn(&Value) -> Value + Send + Sync),
    /// Applies the view to the object.
    pub write: &'a (dyn Fn(&mut Value, &Value) -> Result<(), Status> + Send + Sync),
}

/// Computes the new object of an update from the current one, once for each attempt.
pub(super) trait Change: Send {
    fn changed(&mut self, current: &Value) -> impl Future<Output = Result<Value, Status>> + Send;
}

impl<F: FnMut(&Value) -> Result<Value, Status> + Send> Change for F {
    fn changed(&mut self, current: &Value) -> impl Future<Output = Result<Value, Status>> + Send {
        std::future::ready(self(current))
    }
}

/// What an update writes.
#[derive(Clone, Copy)]
struct Scope<'a> {
    target: ObjectRef<'a>,
    /// The parts of the object. Each is one pass of the pipeline; all are in one transaction.
    parts: &'a [Subresource<'a>],
    view: Option<&'a View<'a>>,
}

impl Pipeline {
    /// Replaces an object with a decoded one.
    pub async fn update(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        mut decoded: Value,
    ) -> Result<WriteOutcome, Status> {
        kinds::check_identity(target.resource, target.namespace, target.name, &mut decoded)?;
        let updated = self.update_with(context, target, |_| Ok(decoded.clone())).await;
        let creates =
            target.subresource == Subresource::Main && target.resource.strategy().create_on_update();
        match updated {
            Err(absent) if absent.reason == "NotFound" && creates => {
                self.create(context, target, decoded).await
            }
            updated => updated,
        }
    }

    /// Patches an object.
    pub async fn patch(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        kind: PatchKind,
        body: &[u8],
    ) -> Result<WriteOutcome, Status> {
        let resource = target.resource;
        self.update_with(context, target, |current| {
            let mut decoded = patch::apply(kind, current, body, &resource.object_type, context.strictness)?;
            kinds::check_identity(resource, target.namespace, target.name, &mut decoded.value)?;
            check_uid_kept(resource, current, &decoded.value)?;
            decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
            Ok(decoded.value)
        })
        .await
    }

    /// Read-modify-write with retries on conflict. `change` computes the new object from the current one.
    pub async fn update_with(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<WriteOutcome, Status> {
        self.update_by(context, target, change).await
    }

    pub(super) async fn update_by(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        change: impl Change,
    ) -> Result<WriteOutcome, Status> {
        let audit = self.open_audit(context, &target, "").await;
        let updated = async {
            let current = self.registry.get(target.resource, target.namespace, target.name).await?;
            let parts = [target.subresource];
            self.run_update(context, Scope { target, parts: &parts, view: None }, current, change).await
        };
        let updated = updated.await;
        close_audit(audit, 200, updated.as_ref()).await;
        updated
    }

    /// Updates an object through a view of it.
    pub async fn update_view(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        view: &View<'_>,
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<WriteOutcome, Status> {
        let current = self.registry.get(target.resource, target.namespace, target.name).await?;
        let parts = [target.subresource];
        self.run_update(context, Scope { target, parts: &parts, view: Some(view) }, current, change).await
    }

    /// Updates several parts of an object, such as the object itself and its status, in one transaction. Each part
    /// has its own pass through defaults, admission and validation, as in consecutive requests. The first attempt
    /// reads the cache without waiting; if the cache is stale, the transaction fails and the next attempt reads the
    /// newest state.
    pub async fn update_parts(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        parts: &[Subresource<'_>],
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<WriteOutcome, Status> {
        let audit = self.open_audit(context, &target, "").await;
        let updated = self.update_cached(context, target, parts, change).await;
        close_audit(audit, 200, updated.as_ref()).await;
        updated
    }

    pub(super) async fn update_cached(
        &self,
        context: &RequestContext,
        target: ObjectRef<'_>,
        parts: &[Subresource<'_>],
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<WriteOutcome, Status> {
        let current = match self.registry.peek(target.resource, target.namespace, target.name) {
            Some(object) => object,
            None => self.registry.get(target.resource, target.namespace, target.name).await?,
        };
        self.run_update(context, Scope { target, parts, view: None }, current, change).await
    }

    #[tracing::instrument(name = "write", skip_all, fields(audit_id = %context.audit_id, verb = context.verb, resource = scope.target.resource.plural, namespace = scope.target.namespace, name = scope.target.name))]
    async fn run_update(
        &self,
        context: &RequestContext,
        scope: Scope<'_>,
        mut current: Arc<Object>,
        mut change: impl Change,
    ) -> Result<WriteOutcome, Status> {
        let ObjectRef { resource, namespace, name, .. } = scope.target;
        let mut broken = None;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let old = resource.decode(&current).await?;
            let wanted = change.changed(&old).await?;
            check_uid(resource, &old, &wanted)?;
            let mut preconditions = Preconditions::default();
            let new =
                self.prepare_update(context, &scope, &old, wanted, (&mut preconditions, broken.as_ref()));
            let (new, effect) = new.await?;
            let is_unchanged = effect == Effect::None || new == old;
            if is_unchanged && !current.is_restored() && !self.registry.is_stale(resource, &current).await? {
                return Ok(WriteOutcome { stored: Some(current), ..WriteOutcome::default() });
            }
            if context.dry_run {
                return Ok(WriteOutcome { unstored: Some(new), ..WriteOutcome::default() });
            }
            let new = if is_unchanged { old } else { new };
            match self.put(resource, new, &current, preconditions).await {
                Ok(outcome) => return Ok(outcome),
                Err(CommitError::Conflict(Some(newer))) => (current, broken) = (newer, None),
                Err(CommitError::Conflict(None)) => return Err(status::not_found(resource, name)),
                Err(CommitError::Precondition(key)) => {
                    self.catch_up(&key).await?;
                    if let Some(newer) = self.registry.peek(resource, namespace, name) {
                        current = newer;
                    }
                    broken = Some(key);
                }
                Err(CommitError::Status(status)) => return Err(status),
            }
        }
        Err(gave_up(&scope.target, broken.as_ref()))
    }

    /// Prepares a new object for its write.
    async fn prepare_update(
        &self,
        context: &RequestContext,
        scope: &Scope<'_>,
        old: &Value,
        wanted: Value,
        (preconditions, broken): (&mut Preconditions, Option<&Key>),
    ) -> Result<(Value, Effect), Status> {
        let mut result: Option<Value> = None;
        let (last, before) =
            scope.parts.split_last().expect("invariant: an update has a part that it writes");
        for part in before {
            let base = result.as_ref().unwrap_or(old);
            let pass = Pass { target: &scope.target, part: *part, view: scope.view, old: base, broken };
            result = Some(self.pass(context, pass, wanted.clone(), preconditions).await?.0);
        }
        let base = result.as_ref().unwrap_or(old);
        let pass = Pass { target: &scope.target, part: *last, view: scope.view, old: base, broken };
        let (mut new, effect) = self.pass(context, pass, wanted, preconditions).await?;
        if effect == Effect::Change || !before.is_empty() {
            managed_fields::keep_times(old, &mut new);
            return Ok((new, Effect::Change));
        }
        Ok((new, effect))
    }

    /// Defaults, admission, preparation and validation of one part.
    async fn pass(
        &self,
        context: &RequestContext,
        pass: Pass<'_>,
        mut new: Value,
        preconditions: &mut Preconditions,
    ) -> Result<(Value, Effect), Status> {
        let Pass { target, part, view, old, broken } = pass;
        if part == BINDING {
            check_version(target.resource, old, &mut new)?;
            let bound = self.binding_pass(context, target, old, (new, preconditions)).await?;
            return Ok((bound, Effect::Change));
        }
        let ObjectRef { resource, namespace, name, .. } = *target;
        let strategy = resource.strategy();
        context.default(strategy, &mut new);
        self.deduplicate_owners(context, &mut new, false);
        self.record_fields(context, (resource, subresource_name(part)), Some(old), &mut new).await;
        let old_view = view.map(|view| (view.read)(old));
        let mut attributes = Attributes::new(Operation::Update, resource, namespace);
        attributes.name = name;
        attributes.old_object = Some(old_view.as_ref().unwrap_or(old));
        match view {
            None => {
                attributes.subresource = subresource_name(part);
                attributes.object = Some(new);
                self.admission.admit(context, &mut attributes, preconditions).await?;
                new = attributes.object.take().unwrap_or_default();
            }
            Some(view) => {
                (attributes.subresource, attributes.kind) = (view.subresource, view.kind);
                attributes.object = Some((view.read)(&new));
                self.admission.admit(context, &mut attributes, preconditions).await?;
                let admitted = attributes.object.take().unwrap_or_default();
                check_uid(resource, old, &admitted)?;
                (view.write)(&mut new, &admitted)?;
                access::copy(&admitted, &mut new, &["metadata", "resourceVersion"]);
            }
        }
        self.deduplicate_owners(context, &mut new, true);
        // As upstream, what admission has made of the resourceVersion counts.
        check_version(resource, old, &mut new)?;
        if part == Subresource::Main {
            // The object keeps its allocated addresses; the update may need more.
            let attempt = service_addresses::Attempt { broken, dry_run: context.dry_run };
            preconditions.extend(self.allocate_addresses(resource, &mut new, Some(old), attempt)?);
        }
        let found = self.claim_errors(context, target, part, &new, Some(old)).await;
        let is_large = blocking::is_large(&new);
        let begin = || kinds::begin_update_with(resource, part, &mut new, old, found);
        let effect = match blocking::of_write(resource, is_large, begin) {
            Ok(effect) => effect,
            Err(refusal) => context.judge(Err(refusal)).map(|()| Effect::Change)?,
        };
        let warnings = match part {
            Subresource::Main => strategy.warnings(&new, Some(old)),
            Subresource::Status => strategy.status_warnings(&new, old),
            Subresource::Other(_) => Vec::new(),
        };
        warnings.into_iter().for_each(|warning| context.warn(warning));
        let (seen, kept) = match view {
            None => (new, None),
            Some(view) => ((view.read)(&new), Some(new)),
        };
        attributes.object = Some(seen);
        self.admission.validate(context, &attributes, preconditions).await?;
        Ok((kept.or_else(|| attributes.object.take()).unwrap_or_default(), effect))
    }

    async fn put(
        &self,
        resource: &Arc<ServedResource>,
        new: Value,
        current: &Object,
        mut preconditions: Preconditions,
    ) -> Result<WriteOutcome, CommitError> {
        let mut stored = resource.to_stored(new).await?;
        if is_released(resource, &stored) {
            // The object is released: the write removes it.
            service_addresses::release_all(&self.registry, resource, &stored, &mut preconditions);
            let revision = commit::remove(&self.registry, resource, current, &preconditions).await?;
            set_resource_version(&mut stored, revision);
            return Ok(WriteOutcome { unstored: Some(stored), ..WriteOutcome::default() });
        }
        if service_addresses::concerns(resource) {
            let versions = (Some(&stored), Some(&current.value()));
            service_addresses::record(&self.registry, resource, versions, &mut preconditions);
        }
        let expect = Expect::Revision(current.revision);
        let object = commit::put(&self.registry, resource, encoded(&stored), expect, &preconditions).await?;
        Ok(WriteOutcome { stored: Some(object), ..WriteOutcome::default() })
    }
}

/// One part of an update.
#[derive(Clone, Copy)]
struct Pass<'a> {
    target: &'a ObjectRef<'a>,
    part: Subresource<'a>,
    view: Option<&'a View<'a>>,
    old: &'a Value,
    broken: Option<&'a Key>,
}

/// In a patch the UID is not a precondition but an immutable field.
pub(super) fn check_uid_kept(resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let (uid, found) = (access::text(new, &["metadata", "uid"]), access::text(old, &["metadata", "uid"]));
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    // Upstream reports this by two rules, and both are listed as causes.
    let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
    let name = access::text(old, &["metadata", "name"]);
    Err(status::invalid(&resource.group, &resource.kind, name, &[error.clone(), error]))
}

/// The UID of a request body is a precondition.
fn check_uid(resource: &ServedResource, old: &Value, new: &Value) -> Result<(), Status> {
    let (uid, found) = (access::text(new, &["metadata", "uid"]), access::text(old, &["metadata", "uid"]));
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    let text = |member: &str| access::text(old, &["metadata", member]);
    let (namespace, name) = (text("namespace"), text("name"));
    let key = crate::storage::watch_cache::key_of(namespace, name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}",
        resource.plural
    );
    Err(status::conflict(resource, name, why))
}

/// The resourceVersion of an object that is to be written is a precondition. One that comes without gets that of `old`.
fn check_version(resource: &ServedResource, old: &Value, new: &mut Value) -> Result<(), Status> {
    let name = access::text(old, &["metadata", "name"]);
    let found = access::text(old, &["metadata", "resourceVersion"]);
    let version = access::text(new, &["metadata", "resourceVersion"]);
    let unconditional = resource.strategy().unconditional_update();
    if version == found {
        return Ok(());
    }
    match if version.is_empty() { Ok(0) } else { version.parse::<u64>() } {
        Ok(0) if unconditional => {
            let version = Value::from(found);
            access::object_mut(new, &["metadata"]).insert("resourceVersion".into(), version);
            Ok(())
        }
        Ok(0) => {
            let why = "must be specified for an update";
            let error = FieldError::invalid_shown("metadata.resourceVersion", "0", why);
            // As upstream, which has no kind here.
            Err(status::invalid(&resource.group, &resource.plural, name, &[error]))
        }
        Ok(_) => Err(status::modified(resource, name)),
        Err(_) => Err(status::unclassified(format!(
            "strconv.ParseUint: parsing {}: invalid syntax",
            go_quote(version)
        ))),
    }
}
