//! The registry: read access to all API objects. Reads are served from watch caches, which follow the store.
//!
//! The registry never writes: all writes go through the request pipeline (`crate::pipeline`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use shim_core::definition::ResourceDefinition;
use shim_core::service_cidr::ServiceCidr;
use shim_model::object::StoredObject;
use shim_model::resource::GroupResource;
use shim_model::status::{self, Status};
use store::{Key, KeyValue, Store};
use tokio::sync::watch;

use crate::metrics;
use crate::metrics::store_requests::{StoreMetrics, StoreRequests};
use crate::storage::catalog::{Catalog, ResourceName, ResourceStore, Rows, ServedResource};
use crate::storage::object::Object;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchCache, WatchEnd, WatchFrom, Watcher};

mod feed;
mod inflight_writes;
mod install;
mod names;
mod object_counts;
mod revision_ages;
pub(crate) use inflight_writes::InflightGuard;
use inflight_writes::InflightWrites;
pub use install::InstallError;
use install::Routes;
pub use names::{generate_name, now};
use revision_ages::RevisionAges;

/// How long a consistent read waits for its cache to catch up with the store (upstream's `blockTimeout`).
pub const FRESH_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long it waits before it requests a progress notification from the store.
const PROGRESS_ASK_AFTER: Duration = Duration::from_millis(20);

/// Read access to all API objects. Clones share.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    service_cidr: ServiceCidr,
    catalog: ArcSwap<Catalog>,
    /// Notifies about catalog changes.
    generation: watch::Sender<u64>,
    /// The stores that the feed updates: those of the catalog and those being opened.
    routes: ArcSwap<Routes>,
    /// Held while the catalog is being changed.
    changing: tokio::sync::Mutex<()>,
    inflight: InflightWrites,
    /// The revision up to which all caches are complete.
    progress: watch::Sender<u64>,
    ages: Mutex<RevisionAges>,
    /// The metrics of requests to the store.
    store_metrics: StoreMetrics,
    /// Objects of the server's start that were there once: resource, namespace and name.
    written: Mutex<BTreeSet<(GroupResource, &'static str, &'static str)>>,
}

impl Registry {
    /// [`Self::open_with`] the default Service CIDR.
    pub async fn open(store: Arc<dyn Store>) -> Result<Registry, store::Error> {
        Self::open_with(store, ServiceCidr::default()).await
    }

    /// Lists all objects of the built-in resources and starts to follow the store. Must be called within a tokio
    /// runtime.
    pub async fn open_with(
        store: Arc<dyn Store>,
        service_cidr: ServiceCidr,
    ) -> Result<Registry, store::Error> {
        let (listing, revision) = feed::read_all(&*store, feed::PREFIX).await?;
        let definitions: Vec<_> = shim_core::definition::builtin().into_iter().map(Arc::new).collect();
        let stored = definitions.iter().filter(|d| install::is_stored(d) && d.is_storage_version());
        let stores = stored.map(|definition| {
            let parsed = feed::parse_prefix(definition, &definition.storage_prefix(), &listing);
            let store = ResourceStore::new(definition.clone(), WatchCache::new(parsed.objects, revision));
            store.unreadable().replace(parsed.unreadable);
            Arc::new(store)
        });
        let routes = Routes::new(stores.collect());
        let catalog = Catalog::new(Rows::new(1, install::rows(&definitions, &routes)));
        let inner = Arc::new(Inner {
            store,
            service_cidr,
            generation: watch::Sender::new(catalog.generation()),
            catalog: ArcSwap::from_pointee(catalog),
            routes: ArcSwap::from_pointee(routes),
            changing: tokio::sync::Mutex::new(()),
            inflight: InflightWrites::default(),
            progress: watch::Sender::new(revision),
            ages: Mutex::default(),
            store_metrics: StoreMetrics::new(),
            written: Mutex::default(),
        });
        tokio::spawn(feed::follow(Arc::downgrade(&inner), revision));
        Ok(Registry { inner })
    }

    /// The range of cluster IPs.
    pub fn service_cidr(&self) -> ServiceCidr {
        self.inner.service_cidr
    }

    /// The current catalog. A request loads it once and uses it to its end.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// The catalog row of a built-in resource.
    pub fn builtin(&self, name: &GroupResource) -> Arc<ServedResource> {
        self.catalog().named(name).cloned().expect("invariant: built-in resources are always served")
    }

    /// The underlying store, for data other than API objects.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Registers the metrics of objects and store.
    pub fn register_metrics(&self, metrics: &metrics::Registry) {
        self.inner.store_metrics.register(metrics);
        metrics::register(metrics, object_counts::collector(self));
        for collector in self.inner.store.collectors() {
            metrics.register(collector).expect("invariant: the store's metrics have names of their own");
        }
    }

    /// The metrics of requests for objects of a stored resource.
    pub(crate) fn store_requests<'a>(&self, resource: &'a ServedResource) -> &'a StoreRequests {
        resource.stored().requests(&self.inner.store_metrics)
    }

    /// The watch cache of a stored resource.
    pub fn cache(&self, resource: impl ResourceName) -> Arc<WatchCache> {
        let resource = resource.resolve(self).expect("invariant: callers name served resources only");
        resource.cache().clone()
    }

    /// The revision up to which all caches are complete.
    pub fn progress(&self) -> u64 {
        *self.inner.progress.borrow()
    }

    /// The revision before which lists have expired: all before it were superseded long ago.
    pub fn expired_before(&self) -> u64 {
        self.inner.ages.lock().unwrap_or_else(PoisonError::into_inner).expired_before()
    }

    /// Subscribes to [`Registry::progress`]. Caches are updated before the revision is published.
    pub fn subscribe_progress(&self) -> watch::Receiver<u64> {
        self.inner.progress.subscribe()
    }

    /// Waits until the caches contain all writes acknowledged before the call; returns the revision that they have
    /// reached.
    pub async fn fresh(&self) -> Result<u64, Status> {
        let revision = self.inner.store.current_revision().await.map_err(of_store)?;
        self.wait_for(revision.0).await?;
        Ok(self.progress())
    }

    /// Waits until the caches are complete up to `revision`.
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

    /// Consistent read of one object: at least as new as all writes acknowledged before the call.
    pub async fn get(
        &self,
        resource: impl ResourceName,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, Status> {
        let resource = self.resolve(resource)?;
        self.fresh().await?;
        resource.stored().unreadable().check(namespace, name)?;
        resource.cache().get(namespace, name).ok_or_else(|| status::not_found(&resource, name))
    }

    pub(crate) fn resolve(&self, resource: impl ResourceName) -> Result<Arc<ServedResource>, Status> {
        resource.resolve(self).ok_or_else(status::unknown_path)
    }

    /// Whether the store keeps an object in another form than a write would give it now, so that it must be written even if
    /// nothing changes.
    pub(crate) async fn is_stale(&self, resource: &ServedResource, object: &Object) -> Result<bool, Status> {
        let key = resource.key(object.namespace(), object.name());
        self.inner.store.is_stale(&key).await.map_err(of_store)
    }

    /// The keys of the objects that cannot be read, with the reasons.
    pub fn unreadable(&self) -> Vec<(String, String)> {
        self.inner.routes.load().stores.iter().flat_map(|store| store.unreadable().all()).collect()
    }

    /// Reads an object from the cache without waiting; the result may be stale.
    pub fn peek(&self, resource: impl ResourceName, namespace: &str, name: &str) -> Option<Arc<Object>> {
        resource.resolve(self)?.store()?.cache().get(namespace, name)
    }

    /// Whether an object has been there since the server started. What somebody deletes later was written all the same.
    pub fn was_written(&self, resource: GroupResource, namespace: &'static str, name: &'static str) -> bool {
        let key = (resource.clone(), namespace, name);
        let written = || self.inner.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written().contains(&key) {
            return true;
        }
        let found = self.peek(resource, namespace, name).is_some();
        if found {
            written().insert(key);
        }
        found
    }

    /// Consistent list of a resource: at least as new as all writes acknowledged before the call.
    pub async fn list(
        &self,
        resource: impl ResourceName,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let resource = self.resolve(resource)?;
        self.fresh().await?;
        resource.stored().unreadable().check_all(namespace)?;
        Ok(resource.cache().list(namespace))
    }

    /// Watches a resource. For a resource that is not served the result is [`WatchEnd::Closed`].
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

    /// Registers an object that is about to be written, so that the feed can reuse the parsed header when the write
    /// arrives from the store. Dropping the guard removes it again unless the write was committed.
    pub(crate) fn announce(&self, key: &Key, stored: &Arc<StoredObject>) -> InflightGuard<'_> {
        self.inner.inflight.register(key, stored)
    }
}

/// Parses an object from the store. Parts that equal those of `older` are reused.
///
/// # Errors
/// Why the object cannot be read: it cannot be decrypted, or is damaged.
pub(crate) fn parse(
    definition: &Arc<ResourceDefinition>,
    kv: &KeyValue,
    older: Option<&Object>,
) -> Result<Arc<Object>, String> {
    if let Some(unreadable) = &kv.unreadable {
        return Err(unreadable.reason.clone());
    }
    let bytes = kv.value.clone();
    let stored = match older {
        Some(older) => older.stored().parse_next(bytes),
        None => StoredObject::parse(bytes),
    };
    stored.map_err(|error| error.to_string()).and_then(|stored| {
        let object = Object::restored(Arc::new(stored), definition, kv.mod_revision.0);
        object.ok_or_else(|| "not an object".to_owned())
    })
}

/// Translates a store error into the API status that clients get.
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
        store::Error::Unavailable { .. } | store::Error::Closed | store::Error::Suspended { .. } => {
            status::service_unavailable(error.to_string())
        }
        store::Error::NoSpace { .. } => Status::failure(507, "InsufficientStorage", error.to_string()),
        other => status::internal(other),
    }
}

/// Whether a terminating object has no finalizers left and no grace period, so that the next write removes it. Pods
/// with a grace period wait for their executor.
pub(crate) fn is_released(resource: &ResourceDefinition, value: &Value) -> bool {
    let metadata = &value["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let graceful = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    metadata["deletionTimestamp"].is_string() && !held && !graceful && !resource.strategy().is_held(value)
}
