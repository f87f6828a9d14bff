//! The registry: every object of the facade, without HTTP. Reads come from the watch caches, writes are store
//! transactions with preconditions. Handlers, controllers and the scheduler all stand on it.
//!
//! What a user's request means (defaults, validation, admission, deletion) is `request_pipeline`; this file keeps
//! bytes, revisions and caches right. Controllers write status and bindings through [`Registry::update_with`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use shim_core::definition::ResourceDefinition;
use shim_model::object::StoredObject;
use shim_model::resource::{GroupResource, Resource};
use shim_model::status::{self, Status};
use store::{Condition, Key, KeyValue, Revision, Store, Txn, TxnOutcome};
use tokio::sync::watch;

use crate::storage::catalog::{Catalog, ResourceName, ResourceStore, Rows, ServedResource};
use crate::storage::object::{Object, encoded};
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchCache, WatchEnd, WatchFrom, Watcher};

mod feed;
mod inflight_writes;
mod install;
mod lifecycle;
use inflight_writes::{InflightGuard, InflightWrites};
pub use install::InstallError;
use install::Routes;
pub use lifecycle::{Deleted, generate_name, now, stamp};

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
    catalog: ArcSwap<Catalog>,
    /// Tells of changes of the catalog.
    generation: watch::Sender<u64>,
    /// The stores that the feed keeps up to date: those of the catalog and those that are being opened.
    routes: ArcSwap<Routes>,
    /// Held while the catalog changes.
    changing: tokio::sync::Mutex<()>,
    inflight: InflightWrites,
    /// Up to which revision every cache has seen everything.
    progress: watch::Sender<u64>,
}

impl Registry {
    /// Reads all objects of the built-in resources and begins to follow the store. Needs a tokio runtime.
    pub async fn open(store: Arc<dyn Store>) -> Result<Registry, store::Error> {
        let (listing, revision) = feed::read_all(&*store, feed::PREFIX).await?;
        let definitions: Vec<_> = shim_core::definition::builtin().into_iter().map(Arc::new).collect();
        let stored = definitions.iter().filter(|d| install::is_stored(d) && d.is_stored_version());
        let stores = stored.map(|definition| {
            let objects = feed::parse_prefix(definition, &definition.storage_prefix(), &listing);
            Arc::new(ResourceStore::new(definition.clone(), WatchCache::new(objects, revision)))
        });
        let routes = Routes::new(stores.collect());
        let catalog = Catalog::new(Rows::new(1, install::rows(&definitions, &routes)));
        let inner = Arc::new(Inner {
            store,
            generation: watch::Sender::new(catalog.generation()),
            catalog: ArcSwap::from_pointee(catalog),
            routes: ArcSwap::from_pointee(routes),
            changing: tokio::sync::Mutex::new(()),
            inflight: InflightWrites::default(),
            progress: watch::Sender::new(revision),
        });
        tokio::spawn(feed::follow(Arc::downgrade(&inner), revision));
        Ok(Registry { inner })
    }

    /// The catalog as it is now. A request loads it once and keeps it.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// The row of a built-in resource.
    pub fn builtin(&self, name: &GroupResource) -> Arc<ServedResource> {
        self.catalog().named(name).cloned().expect("invariant: built-in resources are always served")
    }

    /// The store below, for what is not an object.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The cache of a resource that has a store.
    pub fn cache(&self, resource: impl ResourceName) -> Arc<WatchCache> {
        let resource =
            resource.resolve(self).expect("invariant: the caches asked for are of served resources");
        resource.cache().clone()
    }

    /// Up to which revision the caches have seen everything.
    pub fn progress(&self) -> u64 {
        *self.inner.progress.borrow()
    }

    /// Follows [`Registry::progress`]. The caches contain a revision before its progress is announced.
    pub fn subscribe_progress(&self) -> watch::Receiver<u64> {
        self.inner.progress.subscribe()
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
    pub async fn get(
        &self,
        resource: impl ResourceName,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, Status> {
        let resource = self.resolve(resource)?;
        self.fresh().await?;
        resource.cache().get(namespace, name).ok_or_else(|| status::not_found(&resource, name))
    }

    fn resolve(&self, resource: impl ResourceName) -> Result<Arc<ServedResource>, Status> {
        resource.resolve(self).ok_or_else(status::unknown_path)
    }

    /// Reads an object from the cache, which may be a moment behind.
    pub fn peek(&self, resource: impl ResourceName, namespace: &str, name: &str) -> Option<Arc<Object>> {
        resource.resolve(self)?.store()?.cache().get(namespace, name)
    }

    /// Lists a resource, as new as everything acknowledged before the call.
    pub async fn list(
        &self,
        resource: impl ResourceName,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let resource = self.resolve(resource)?;
        self.fresh().await?;
        Ok(resource.cache().list(namespace))
    }

    /// Watches a resource; one that is not served is like one whose watches have ended.
    pub fn watch(
        &self,
        resource: impl ResourceName,
        from: WatchFrom,
        selection: Selection,
    ) -> Result<Watcher, WatchEnd> {
        let row = resource.resolve(self);
        let store = row.as_ref().and_then(|row| row.store()).ok_or(WatchEnd::Closed)?;
        store.cache().watch(from, selection)
    }

    /// Reads, changes and writes an object, again from the newest state when somebody else was faster. `change`
    /// edits the decoded object; if it changes nothing, nothing is written. The generation grows with the spec. It
    /// is for what the system knows (status, bindings, scale, finalizers): nothing is defaulted or validated.
    /// An object that is being deleted and has lost its last finalizer goes.
    pub async fn update_with(
        &self,
        resource: impl ResourceName,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Object>, Status> {
        let resource = &self.resolve(resource)?;
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
        resource: &ServedResource,
        value: &Value,
        expect: Expect,
        claims: &Claims,
    ) -> Result<Arc<Object>, WriteError> {
        self.write_encoded(resource, encoded(value), expect, claims).await
    }

    /// The same of an object that is encoded already.
    pub async fn write_encoded(
        &self,
        resource: &ServedResource,
        stored: StoredObject,
        expect: Expect,
        claims: &Claims,
    ) -> Result<Arc<Object>, WriteError> {
        let key = resource.stored().key(&stored.header.namespace, &stored.header.name);
        let condition = match expect {
            Expect::Absent => Condition::Absent,
            Expect::Revision(revision) => Condition::ModRevision(Revision(revision)),
        };
        let txn = claims.add_to(Txn::new().when(key.clone(), condition), key.as_str());
        let stored = Arc::new(stored);
        let outcome = self.transact(txn, &[(&key, &stored)]).await;
        let revision = committed(resource, &key, outcome, claims)?;
        Object::new(stored, resource.stored().definition(), revision)
            .ok_or_else(|| WriteError::Status(status::internal("object could not be encoded")))
    }

    /// Removes an object if it is still as of `revision`; says at which revision it went.
    pub async fn remove(
        &self,
        resource: &ServedResource,
        namespace: &str,
        name: &str,
        revision: u64,
        claims: &Claims,
    ) -> Result<u64, WriteError> {
        let key = resource.stored().key(namespace, name);
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
        let mut guards = Vec::with_capacity(objects.len());
        for (key, stored) in objects.iter().copied() {
            txn = txn.put(key.clone(), stored.bytes.clone());
            guards.push(self.inner.inflight.register(key, stored));
        }
        let outcome = self.inner.store.txn(txn).await;
        if let Ok(TxnOutcome::Committed { .. }) = outcome {
            guards.into_iter().for_each(InflightGuard::commit);
        }
        outcome
    }
}

/// The revision of a write, or why it did not happen.
fn committed(
    resource: &ServedResource,
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
            Err(WriteError::Conflict(
                holds(key).and_then(|kv| parse(resource.stored().definition(), kv, None)),
            ))
        }
    }
}

/// Reads an object out of the store's bytes; damaged ones are reported and left out. What it has in common with an older
/// version of it is not read again.
pub(crate) fn parse(
    definition: &Arc<ResourceDefinition>,
    kv: &KeyValue,
    older: Option<&Object>,
) -> Option<Arc<Object>> {
    let bytes = kv.value.clone();
    let stored = match older {
        Some(older) => older.stored().parse_next(bytes),
        None => StoredObject::parse(bytes),
    };
    let parsed = stored.map_err(|error| error.to_string()).and_then(|stored| {
        let object = Object::new(Arc::new(stored), definition, kv.mod_revision.0);
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
pub(crate) fn is_released(resource: &ResourceDefinition, value: &Value) -> bool {
    let metadata = &value["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let graceful = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    metadata["deletionTimestamp"].is_string() && !held && !graceful && !resource.strategy().is_held(value)
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
