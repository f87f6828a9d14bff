//! The registry: every object of the facade, without HTTP. Reads come from the watch caches, writes are store
//! transactions with preconditions. Handlers, controllers and the scheduler all stand on it.
//!
//! What a user's request means (defaults, validation, admission, deletion) is `request_pipeline`; this file keeps
//! bytes, revisions and caches right. Controllers write status and bindings through [`Registry::update_with`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shim_model::object::StoredObject;
use shim_model::resource::{self, Resource, Verb};
use shim_model::status::{self, Status};
use store::{Condition, Key, KeyValue, Revision, Store, Txn, TxnOutcome};
use tokio::sync::watch;

use crate::storage::object::{Object, encoded};
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{Lagged, WatchCache, WatchFrom, Watcher, push_key};

mod feed;
mod lifecycle;
mod on_the_way;
pub use lifecycle::{Deleted, generate_name, now, stamp};
use on_the_way::{Noted, OnTheWay};

/// How long a read waits for its cache to be as new as the store (as upstream's `blockTimeout`).
pub const FRESH_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long it waits before it asks the store for progress.
const PROGRESS_ASK_AFTER: Duration = Duration::from_millis(20);
/// How often a write that lost a race is tried again. Each try sees a newer object, so that somebody made progress.
pub const CONFLICT_RETRIES_MAX: usize = 64;

/// What a write must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object of that name.
    Absent,
    /// The object as of this revision.
    Revision(u64),
}

/// Why a write did not happen.
#[derive(Debug)]
pub enum WriteError {
    /// The object was not as expected; this is what is there now.
    Conflict(Option<Arc<Object>>),
    /// Another precondition of the transaction (a claimed address, say) did not hold.
    Claimed(Key),
    /// Anything else, as the client is told.
    Status(Status),
}

impl From<Status> for WriteError {
    fn from(status: Status) -> Self {
        WriteError::Status(status)
    }
}

/// Further keys of the same transaction: claims on addresses and ports, written or released with the object.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Keys that must not exist yet and are made.
    pub take: Vec<Key>,
    /// Keys that are removed.
    pub release: Vec<Key>,
    /// Keys that must not have been written since the revision that they were read at.
    pub hold: Vec<(Key, u64)>,
}

impl Claims {
    fn add_to(&self, mut txn: Txn, owner: &str) -> Txn {
        for key in &self.take {
            let value = bytes::Bytes::copy_from_slice(owner.as_bytes());
            txn = txn.when(key.clone(), Condition::Absent).put(key.clone(), value);
        }
        for key in &self.release {
            txn = txn.delete(key.clone());
        }
        for (key, revision) in &self.hold {
            txn = txn.when(key.clone(), Condition::ModRevision(Revision(*revision)));
        }
        txn
    }
}

/// Every object of the facade. Clones share.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    kept: Vec<Kept>,
    on_the_way: OnTheWay,
    /// Up to which revision every cache has seen everything.
    progress: watch::Sender<u64>,
}

/// What is kept below one storage prefix.
struct Kept {
    prefix: String,
    resource: &'static Resource,
    cache: Arc<WatchCache>,
}

impl Inner {
    /// Where a resource's objects are. Resources that share storage share it.
    fn kept(&self, resource: &Resource) -> Option<&Kept> {
        let same = |kept: &&Kept| {
            kept.resource.plural == resource.plural && kept.resource.group == resource.storage_group
        };
        self.kept.iter().find(same)
    }
}

impl Registry {
    /// Reads everything there is and begins to follow the store. Needs a tokio runtime.
    pub async fn open(store: Arc<dyn Store>) -> Result<Registry, store::Error> {
        let (listing, revision) = feed::read_all(&*store).await?;
        let mut kept = Vec::new();
        for resource in resource::all().iter().filter(|r| r.allows(Verb::Get) && r.allows(Verb::List)) {
            let prefix = resource.storage_prefix();
            // The owner of the storage group names its objects' kind.
            if resource.storage_group == resource.group {
                let objects = feed::parse_prefix(resource, &prefix, &listing);
                kept.push(Kept { prefix, resource, cache: WatchCache::new(objects, revision) });
            }
        }
        let (on_the_way, progress) = (OnTheWay::default(), watch::Sender::new(revision));
        let inner = Arc::new(Inner { store, kept, on_the_way, progress });
        tokio::spawn(feed::follow(Arc::downgrade(&inner), revision));
        Ok(Registry { inner })
    }

    /// The store below, for what is not an object.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The cache of a resource that can be listed.
    pub fn cache(&self, resource: &Resource) -> &Arc<WatchCache> {
        match self.inner.kept(resource) {
            Some(kept) => &kept.cache,
            None => panic!("invariant: {} has no storage and is never asked for it", resource.qualified()),
        }
    }

    /// Whether a resource keeps objects (reviews do not).
    pub fn keeps(&self, resource: &Resource) -> bool {
        self.inner.kept(resource).is_some()
    }

    /// Up to which revision the caches have seen everything.
    pub fn progress(&self) -> u64 {
        *self.inner.progress.borrow()
    }

    /// Waits until the caches have seen everything that is acknowledged by now, and says up to which revision that is.
    pub async fn fresh(&self) -> Result<u64, Status> {
        let revision = self.inner.store.current_revision().await.map_err(of_store)?;
        self.wait_for(revision.0).await?;
        Ok(self.progress())
    }

    /// Waits until the caches have seen everything up to `revision`.
    pub async fn wait_for(&self, revision: u64) -> Result<(), Status> {
        if self.progress() >= revision {
            return Ok(());
        }
        let mut progress = self.inner.progress.subscribe();
        let reached = progress.wait_for(|p| *p >= revision);
        if tokio::time::timeout(PROGRESS_ASK_AFTER, reached).await.is_ok() {
            return Ok(());
        }
        self.inner.store.request_progress().await.map_err(of_store)?;
        let reached = progress.wait_for(|p| *p >= revision);
        match tokio::time::timeout(FRESH_WAIT_MAX, reached).await {
            Ok(_) => Ok(()),
            Err(_) => Err(status::too_large_resource_version(revision, self.progress())),
        }
    }

    /// Reads an object, as new as everything acknowledged before the call.
    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        self.fresh().await?;
        self.peek(resource, namespace, name).ok_or_else(|| status::not_found(resource, name))
    }

    /// Reads an object from the cache, which may be a moment behind.
    pub fn peek(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.cache(resource).get(namespace, name)
    }

    /// Lists a resource, as new as everything acknowledged before the call.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        self.fresh().await?;
        Ok(self.cache(resource).list(namespace))
    }

    /// Watches a resource.
    pub fn watch(
        &self,
        resource: &Resource,
        from: WatchFrom,
        selection: Selection,
    ) -> Result<Watcher, Lagged> {
        self.cache(resource).watch(from, selection)
    }

    /// Reads, changes and writes an object, again from the newest state when somebody else was faster. `change`
    /// edits the decoded object; if it changes nothing, nothing is written. The generation grows with the spec. It
    /// is for what the system knows (status, bindings, scale, finalizers): nothing is defaulted or validated.
    /// An object that is being deleted and has lost its last finalizer goes.
    pub async fn update_with(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Object>, Status> {
        // The cache is a good guess: if it is behind, the transaction says so and brings the newest state along.
        let mut current = match self.peek(resource, namespace, name) {
            Some(object) => object,
            None => self.get(resource, namespace, name).await?,
        };
        for _ in 0..CONFLICT_RETRIES_MAX {
            let before = current.value();
            let mut value = before.clone();
            change(&mut value)?;
            if value == before {
                return Ok(current);
            }
            advance_generation(resource, &before, &mut value);
            let expect = Expect::Revision(current.revision);
            let written = if is_released(resource, &value) {
                let claims = release_all(resource, &value);
                self.remove(resource, namespace, name, current.revision, &claims)
                    .await
                    .map(|_| current.clone())
            } else {
                self.write(resource, &value, expect, &Claims::default()).await
            };
            match written {
                Ok(object) => return Ok(object),
                Err(WriteError::Conflict(Some(newer))) => current = newer,
                Err(WriteError::Conflict(None)) => return Err(status::not_found(resource, name)),
                Err(WriteError::Claimed(_)) => {}
                Err(WriteError::Status(status)) => return Err(status),
            }
        }
        Err(status::modified(resource, name))
    }

    /// Writes an object if what is there is as expected.
    pub async fn write(
        &self,
        resource: &'static Resource,
        value: &Value,
        expect: Expect,
        claims: &Claims,
    ) -> Result<Arc<Object>, WriteError> {
        self.write_encoded(resource, encoded(value), expect, claims).await
    }

    /// The same of an object that is encoded already.
    pub async fn write_encoded(
        &self,
        resource: &'static Resource,
        stored: StoredObject,
        expect: Expect,
        claims: &Claims,
    ) -> Result<Arc<Object>, WriteError> {
        let key = store_key(resource, &stored.header.namespace, &stored.header.name);
        let condition = match expect {
            Expect::Absent => Condition::Absent,
            Expect::Revision(revision) => Condition::ModRevision(Revision(revision)),
        };
        let txn = claims.add_to(Txn::new().when(key.clone(), condition), key.as_str());
        let stored = Arc::new(stored);
        let outcome = self.transact(txn, &[(&key, &stored)]).await;
        let revision = committed(resource, &key, outcome, claims)?;
        Object::new(stored, stored_as(resource), revision)
            .ok_or_else(|| WriteError::Status(status::internal("object could not be encoded")))
    }

    /// Removes an object if it is still as of `revision`; says at which revision it went.
    pub async fn remove(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        revision: u64,
        claims: &Claims,
    ) -> Result<u64, WriteError> {
        let key = store_key(resource, namespace, name);
        let condition = Condition::ModRevision(Revision(revision));
        let txn = Txn::new().when(key.clone(), condition).delete(key.clone());
        let outcome = self.inner.store.txn(claims.add_to(txn, "")).await;
        committed(resource, &key, outcome, claims)
    }

    /// Carries out a transaction that puts these objects too: what is known of them here is not read again when they come
    /// back from the store.
    pub(crate) async fn transact(
        &self,
        mut txn: Txn,
        objects: &[(&Key, &Arc<StoredObject>)],
    ) -> Result<TxnOutcome, store::Error> {
        let mut noted = Vec::with_capacity(objects.len());
        for (key, stored) in objects.iter().copied() {
            txn = txn.put(key.clone(), stored.bytes.clone());
            noted.push(self.inner.on_the_way.note(key, stored));
        }
        let outcome = self.inner.store.txn(txn).await;
        if let Ok(TxnOutcome::Committed { .. }) = outcome {
            noted.into_iter().for_each(Noted::written);
        }
        outcome
    }
}

/// The revision of a write, or why it did not happen.
fn committed(
    resource: &'static Resource,
    key: &Key,
    outcome: Result<TxnOutcome, store::Error>,
    claims: &Claims,
) -> Result<u64, WriteError> {
    match outcome.map_err(of_store)? {
        TxnOutcome::Committed { revision } => Ok(revision.0),
        TxnOutcome::Conflict { current, .. } => {
            let holds = |key: &Key| current.iter().find(|(k, _)| k == key).and_then(|(_, kv)| kv.as_ref());
            let taken = claims.take.iter().find(|k| holds(k).is_some());
            let moved = claims.hold.iter().find(|(k, r)| holds(k).map_or(0, |kv| kv.mod_revision.0) != *r);
            if let Some(claim) = taken.or(moved.map(|(k, _)| k)) {
                return Err(WriteError::Claimed(claim.clone()));
            }
            tracing::debug!(%key, "write lost a race");
            Err(WriteError::Conflict(holds(key).and_then(|kv| parse(resource, kv, None))))
        }
    }
}

/// The store key of an object.
pub fn store_key(resource: &Resource, namespace: &str, name: &str) -> Key {
    let mut key = resource.storage_prefix();
    push_key(&mut key, namespace, name);
    Key::from(key)
}

/// The resource in whose form objects are stored: another one where a group shares its storage.
fn stored_as(resource: &'static Resource) -> &'static Resource {
    match resource.storage_group == resource.group {
        true => resource,
        false => resource::find(resource.storage_group, "v1", resource.plural).unwrap_or(resource),
    }
}

/// Reads an object out of the store's bytes; damaged ones are reported and left out. What it has in common with an older
/// version of it is not read again.
pub(crate) fn parse(
    resource: &'static Resource,
    kv: &KeyValue,
    older: Option<&Object>,
) -> Option<Arc<Object>> {
    let bytes = kv.value.clone();
    let stored = match older {
        Some(older) => older.stored().parse_next(bytes),
        None => StoredObject::parse(bytes),
    };
    let parsed = stored.map_err(|error| error.to_string()).and_then(|stored| {
        let object = Object::new(Arc::new(stored), stored_as(resource), kv.mod_revision.0);
        object.ok_or_else(|| "not an object".to_owned())
    });
    match parsed {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(key = %kv.key, error, "stored object is damaged and not served");
            None
        }
    }
}

/// The store's troubles as a client is told.
pub(crate) fn of_store(error: store::Error) -> Status {
    match error {
        store::Error::Compacted { .. } => status::list_expired(),
        store::Error::FutureRevision { requested, current } => {
            status::too_large_resource_version(requested.0, current.0)
        }
        store::Error::TooLarge { bytes, limit } => {
            let message = format!("etcdserver: request is too large: {bytes} bytes, the limit is {limit}");
            Status::failure(413, "RequestEntityTooLarge", message)
        }
        store::Error::Unavailable { .. } | store::Error::Closed | store::Error::Poisoned { .. } => {
            status::service_unavailable(error.to_string())
        }
        other => status::internal(other),
    }
}

/// Whether an object is on its way out and nothing holds it any longer: what is written then is its removal. Pods
/// with grace left wait for their executor.
pub(crate) fn is_released(resource: &Resource, value: &Value) -> bool {
    let metadata = &value["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let graceful = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    let namespace_held = resource.kind == "Namespace"
        && resource.group.is_empty()
        && value["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    metadata["deletionTimestamp"].is_string() && !held && !graceful && !namespace_held
}

/// The claims that go with an object.
pub(crate) fn release_all(resource: &Resource, value: &Value) -> Claims {
    Claims { release: crate::storage::service_addresses::claims_of(resource, value), ..Claims::default() }
}

fn advance_generation(resource: &Resource, before: &Value, after: &mut Value) {
    // A binding is no change of intent: upstream leaves a Pod's generation alone when its node is set.
    let pod = resource.group.is_empty() && resource.kind == "Pod";
    if pod || before.get("spec") == after.get("spec") {
        return;
    }
    if let Some(generation) = before["metadata"]["generation"].as_i64() {
        after["metadata"]["generation"] = (generation + 1).into();
    }
}
