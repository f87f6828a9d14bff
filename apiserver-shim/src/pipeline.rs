//! The only writer of user intent. A request that was decoded goes through defaults, managed fields, admission and the
//! rules of its kind into one store transaction, and again from the start if it lost a race.
//!
//! Order, as upstream's: default → managed fields → admission → prepare and validate → write.

use std::sync::Arc;

use serde_json::Value;
use shim_core::kinds::{self, CreateContext, Subresource};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::managed_fields::{self, Writer};
use shim_model::patch::{self, PatchKind};
use shim_model::resource::Resource;
use shim_model::schema::{ObjectType, Strictness};
use shim_model::status::{self, Status};

use crate::http::query::quote;
use crate::storage::catalog::ServedResource;
use crate::storage::object::{Object, set_resource_version};
use crate::storage::registry::{
    CONFLICT_RETRIES_MAX, Claims, Expect, Registry, WriteError, generate_name, is_released, now, release_all,
};
use crate::storage::service_addresses;

mod admission;

/// How often a generated name that is taken is drawn anew (as upstream).
const GENERATE_NAME_TRIES: usize = 8;

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name under which fields are owned.
    pub manager: String,
    /// Only say what would be written.
    pub dry_run: bool,
    /// What to do about unknown members of patches' outcomes.
    pub strictness: Strictness,
}

impl Call {
    /// A call from inside the process.
    pub fn internal(manager: &str) -> Call {
        Call { manager: manager.to_owned(), dry_run: false, strictness: Strictness::Ignore }
    }
}

/// What a write gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The object as it would be (a dry run) or as it last was (its last finalizer went), decoded.
    pub unstored: Option<Value>,
    /// The object as it was written.
    pub stored: Option<Arc<Object>>,
    /// Whether it is new.
    pub created: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl Outcome {
    /// The object as `resource` serves it, decoded.
    pub async fn value(&self, resource: &ServedResource) -> Result<Value, Status> {
        match (&self.stored, &self.unstored) {
            (Some(object), _) => resource.decode(object).await,
            (None, Some(value)) => Ok(value.clone()),
            (None, None) => Ok(Value::Null),
        }
    }
}

/// Writes what users want.
#[derive(Clone)]
pub struct Pipeline {
    registry: Registry,
}

/// Where an update goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Resource.
    pub resource: &'a Arc<ServedResource>,
    /// The object itself or which subresource.
    pub subresource: Subresource<'a>,
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the request.
    pub name: &'a str,
}

impl<'a> Place<'a> {
    fn subresource_name(&self) -> &'a str {
        match self.subresource {
            Subresource::Main => "",
            Subresource::Status => "status",
            Subresource::Other(name) => name,
        }
    }
}

impl Pipeline {
    /// A pipeline over a registry.
    pub fn new(registry: Registry) -> Pipeline {
        Pipeline { registry }
    }

    /// The registry below.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Creates an object that was decoded.
    pub async fn create(
        &self,
        resource: &Arc<ServedResource>,
        namespace: &str,
        decoded: Value,
        call: &Call,
    ) -> Result<Outcome, Status> {
        self.create_from(resource, namespace, decoded.clone(), || Ok(decoded.clone()), call).await
    }

    /// The same where the object can be had once more, which is seldom needed: if a drawn name is taken, or if what admitted
    /// it has changed meanwhile.
    pub async fn create_from(
        &self,
        resource: &Arc<ServedResource>,
        namespace: &str,
        mut decoded: Value,
        again: impl Fn() -> Result<Value, Status>,
        call: &Call,
    ) -> Result<Outcome, Status> {
        let generated = access::text(&decoded, &["metadata", "name"]).is_empty();
        let mut names = 0;
        for _ in 0..CONFLICT_RETRIES_MAX {
            match self.create_once(resource, namespace, decoded, call).await {
                Ok(Some(outcome)) => return Ok(outcome),
                // The namespace has changed under us: look again, with what is known by then.
                Ok(None) => {
                    self.registry.fresh().await?;
                }
                Err(taken) if generated && taken.reason == "AlreadyExists" && names < GENERATE_NAME_TRIES => {
                    names += 1;
                }
                Err(status) => return Err(status),
            }
            decoded = again()?;
        }
        Err(status::service_unavailable(format!("namespace {namespace} changes too fast")))
    }

    /// One attempt; nothing if what it was admitted by has changed meanwhile.
    async fn create_once(
        &self,
        resource: &Arc<ServedResource>,
        namespace: &str,
        mut object: Value,
        call: &Call,
    ) -> Result<Option<Outcome>, Status> {
        let kind = resource.strategy();
        kind.default(&mut object);
        self.record(&resource.object_type, "", None, &mut object, call);
        let guard = admission::create(&self.registry, resource, namespace, &mut object).await?;
        if service_addresses::concerns(resource) {
            // An address that was given back a moment ago must read as free.
            self.registry.fresh().await?;
        }
        let suffix = match access::text(&object, &["metadata", "name"]) {
            "" => generate_name(""),
            _ => String::new(), // Not needed: luck costs a call of the kernel.
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let context = CreateContext { namespace, uid: &uid, now: now(), suffix: &suffix };
        let warnings = kind.warnings(&object, None);
        let mut prepared = object;
        let mut refused = None;
        for _ in 0..CONFLICT_RETRIES_MAX {
            // Only an address that somebody else took first brings a second turn.
            let mut object = match service_addresses::concerns(resource) {
                true => prepared.clone(),
                false => prepared.take(),
            };
            // A dry run must find the addresses free too, but takes none.
            let lease = service_addresses::allocate(&self.registry, resource, &mut object, None, &refused)?;
            kinds::begin_create(resource, &mut object, &context)?;
            let name = access::text(&object, &["metadata", "name"]).to_owned();
            if call.dry_run {
                if self.registry.get(resource, namespace, &name).await.is_ok() {
                    return Err(self.exists(resource, namespace, &name));
                }
                return Ok(Some(Outcome { unstored: Some(object), stored: None, created: true, warnings }));
            }
            let stored = resource.to_stored(object).await?;
            let mut claims = lease.claims();
            claims.hold.extend(guard.clone());
            match self.registry.write(resource, &stored, Expect::Absent, &claims).await {
                Ok(object) => {
                    return Ok(Some(Outcome {
                        unstored: None,
                        stored: Some(object),
                        created: true,
                        warnings,
                    }));
                }
                Err(WriteError::Conflict(found)) => {
                    let dying = found.is_some_and(|o| o.header().deletion_timestamp.is_some());
                    return Err(match dying {
                        true => status::already_exists_terminating(resource, &name),
                        false => status::already_exists(resource, &name),
                    });
                }
                Err(WriteError::Claimed(key)) => {
                    if guard.iter().any(|(k, _)| *k == key) {
                        return Ok(None);
                    }
                    refused = Some(key);
                }
                Err(WriteError::Status(status)) => return Err(status),
            }
        }
        Err(status::service_unavailable("no free service address could be found"))
    }

    fn exists(&self, resource: &Arc<ServedResource>, namespace: &str, name: &str) -> Status {
        let found = self.registry.peek(resource, namespace, name);
        match found.is_some_and(|o| o.header().deletion_timestamp.is_some()) {
            true => status::already_exists_terminating(resource, name),
            false => status::already_exists(resource, name),
        }
    }

    /// Replaces an object by one that was decoded.
    pub async fn update(&self, place: Place<'_>, mut decoded: Value, call: &Call) -> Result<Outcome, Status> {
        kinds::check_identity(place.resource, place.namespace, place.name, &mut decoded)?;
        let updated = self.apply(place, call, |_| Ok((decoded.clone(), Vec::new()))).await;
        let creates = place.subresource == Subresource::Main && place.resource.strategy().create_on_update();
        match updated {
            Err(absent) if absent.reason == "NotFound" && creates => {
                self.create(place.resource, place.namespace, decoded, call).await
            }
            updated => updated,
        }
    }

    /// Patches an object.
    pub async fn patch(
        &self,
        place: Place<'_>,
        kind: PatchKind,
        body: &[u8],
        call: &Call,
    ) -> Result<Outcome, Status> {
        self.apply(place, call, |current| {
            let mut decoded =
                patch::apply(kind, current, body, &place.resource.object_type, call.strictness)?;
            kinds::check_identity(place.resource, place.namespace, place.name, &mut decoded.value)?;
            check_uid_kept(place.resource, current, &decoded.value)?;
            Ok((decoded.value, decoded.warnings))
        })
        .await
    }

    /// Reads, changes and writes until nobody was faster. `change` makes the wanted object of the current one.
    pub async fn apply(
        &self,
        place: Place<'_>,
        call: &Call,
        mut change: impl FnMut(&Value) -> Result<(Value, Vec<String>), Status>,
    ) -> Result<Outcome, Status> {
        let Place { resource, namespace, name, .. } = place;
        let mut current = self.registry.get(resource, namespace, name).await?;
        let mut refused = None;
        for _ in 0..CONFLICT_RETRIES_MAX {
            let old = resource.decode(&current).await?;
            let (new, mut warnings) = change(&old)?;
            check_versions(resource, &old, &new, current.revision)?;
            let (new, lease) = self.prepare(place, &old, new, call, &refused)?;
            warnings.extend(resource.strategy().warnings(&new, Some(&old)));
            let mut done = Outcome { unstored: None, stored: None, created: false, warnings };
            if new == old {
                done.stored = Some(current);
                return Ok(done);
            }
            if call.dry_run {
                done.unstored = Some(new);
                return Ok(done);
            }
            match self.put(resource, new, &current, lease.claims()).await {
                Ok((last, stored)) => {
                    (done.unstored, done.stored) = (last, stored);
                    return Ok(done);
                }
                Err(WriteError::Conflict(Some(newer))) => current = newer,
                Err(WriteError::Conflict(None)) => return Err(status::not_found(resource, name)),
                Err(WriteError::Claimed(key)) => refused = Some(key),
                Err(WriteError::Status(status)) => return Err(status),
            }
        }
        Err(status::modified(resource, name))
    }

    /// Everything between a wanted object and its write.
    fn prepare(
        &self,
        place: Place<'_>,
        old: &Value,
        mut new: Value,
        call: &Call,
        refused: &Option<store::Key>,
    ) -> Result<(Value, service_addresses::Lease), Status> {
        let resource = place.resource;
        resource.strategy().default(&mut new);
        self.record(&resource.object_type, place.subresource_name(), Some(old), &mut new, call);
        admission::update(resource, place.subresource, &mut new, old);
        // Addresses that the old object has stay its own; the new one may need more.
        let lease = match place.subresource {
            Subresource::Main => {
                service_addresses::allocate(&self.registry, resource, &mut new, Some(old), refused)?
            }
            _ => service_addresses::Lease::default(),
        };
        kinds::begin_update(resource, place.subresource, &mut new, old)?;
        let version = old["metadata"]["resourceVersion"].clone();
        access::object_mut(&mut new, &["metadata"]).insert("resourceVersion".into(), version);
        Ok((new, lease))
    }

    async fn put(
        &self,
        resource: &Arc<ServedResource>,
        new: Value,
        current: &Object,
        claims: Claims,
    ) -> Result<(Option<Value>, Option<Arc<Object>>), WriteError> {
        let stored = resource.to_stored(new).await?;
        if is_released(resource, &stored) {
            let claims = release_all(resource, &stored);
            let (namespace, name) = (current.namespace(), current.name());
            let revision = self.registry.remove(resource, namespace, name, current.revision, &claims).await?;
            let mut last = stored;
            set_resource_version(&mut last, revision);
            return Ok((Some(last), None));
        }
        let expect = Expect::Revision(current.revision);
        let object = self.registry.write(resource, &stored, expect, &claims).await?;
        Ok((None, Some(object)))
    }

    fn record(&self, ty: &ObjectType, subresource: &str, old: Option<&Value>, new: &mut Value, call: &Call) {
        let reset: &[&[&str]] = match subresource {
            "" => &[&["status"]],
            "status" => &[&["spec"]],
            _ => &[],
        };
        let writer = Writer { manager: &call.manager, ty, subresource, now: now(), reset };
        managed_fields::record_update(old, new, writer);
    }
}

/// In a patch a UID is no precondition but a field, which cannot change.
fn check_uid_kept(resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let (uid, found) = (access::text(new, &["metadata", "uid"]), access::text(old, &["metadata", "uid"]));
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    // Two rules notice it upstream, and both are counted among the causes.
    let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
    let name = access::text(old, &["metadata", "name"]);
    Err(status::invalid(&resource.group, &resource.kind, name, &[error.clone(), error]))
}

/// UID and resourceVersion of a body are preconditions.
fn check_versions(resource: &ServedResource, old: &Value, new: &Value, revision: u64) -> Result<(), Status> {
    let name = access::text(old, &["metadata", "name"]);
    let (uid, found) = (access::text(new, &["metadata", "uid"]), access::text(old, &["metadata", "uid"]));
    if !uid.is_empty() && uid != found {
        let namespace = access::text(old, &["metadata", "namespace"]);
        let key = crate::storage::watch_cache::key_of(namespace, name);
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {found}",
            resource.plural
        );
        return Err(status::conflict(resource, name, why));
    }
    let version = access::text(new, &["metadata", "resourceVersion"]);
    if version.is_empty() {
        if resource.strategy().unconditional_update() {
            return Ok(());
        }
        let error =
            FieldError::invalid_shown("metadata.resourceVersion", "0x0", "must be specified for an update");
        return Err(status::invalid(&resource.group, &resource.kind, name, &[error]));
    }
    match version.parse::<u64>() {
        Ok(0) if resource.strategy().unconditional_update() => Ok(()),
        Ok(version) if version == revision => Ok(()),
        Ok(_) => Err(status::modified(resource, name)),
        Err(_) => Err(status::unclassified(format!(
            "strconv.ParseUint: parsing {}: invalid syntax",
            quote(version)
        ))),
    }
}
