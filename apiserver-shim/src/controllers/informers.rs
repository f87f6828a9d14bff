//! The informers: read the watch caches of all resources, update the controllers' cache, and enqueue the keys that
//! each change affects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim_core::controllers::{ChangeKind, Decoder, NewObject, ObjectChange, Registration, View};
use shim_core::rows::{Key, ObjectView, Pod};
use shim_model::resource::{GroupResource, Verb};

use super::cache::SharedCache;
use super::worker::Queue;
use crate::storage::object::Object;
use crate::storage::pod_views::PodViews;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{self, Delivery, WatchCache, WatchFrom, Watcher};

/// Changes applied to the cache under one lock, which takes about 100 µs.
const BATCH_MAX: usize = 256;
/// Resync period: how often unchanged objects are passed to the controllers again. Recovers from defects in `keys`
/// and from lost wake-ups. A quota whose status somebody else has changed is put right then, in upstream's time.
const RESYNC_EVERY: Duration = Duration::from_secs(300);

/// The changes of one resource.
type Changes = (GroupResource, Vec<ObjectChange>);

pub(super) struct Informers {
    registry: Registry,
    pod_views: PodViews,
    cache: SharedCache,
    decoder: Decoder,
    controllers: Vec<(Arc<Registration>, Arc<Queue>)>,
    watchers: Vec<(GroupResource, Watcher)>,
    /// The catalog generation whose resources are watched.
    generation: Option<u64>,
}

impl Informers {
    pub fn new(
        registry: Registry,
        pod_views: PodViews,
        cache: SharedCache,
        controllers: Vec<(Arc<Registration>, Arc<Queue>)>,
    ) -> Informers {
        let decoder = cache.snapshot().decoder();
        Informers { registry, pod_views, cache, decoder, controllers, watchers: Vec::new(), generation: None }
    }

    /// Runs until the registry is dropped.
    pub async fn run(mut self) {
        let mut progress = self.registry.subscribe_progress();
        let mut generations = self.registry.generations();
        let mut resync = tokio::time::interval(RESYNC_EVERY);
        resync.reset();
        loop {
            // Read before polling the watchers: their changes are at least as new.
            let seen = *progress.borrow_and_update();
            let mut changes = self.follow_catalog();
            changes.extend(self.drain());
            for (resource, changes) in changes {
                self.dispatch(&resource, &changes);
            }
            self.cache.set_seen(seen);
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                _ = generations.changed() => {}
                _ = resync.tick() => self.resync().await,
            }
        }
    }

    /// Starts watches of newly installed resources and removes the objects of uninstalled ones.
    fn follow_catalog(&mut self) -> Vec<Changes> {
        let catalog = self.registry.catalog();
        if self.generation.replace(catalog.generation()) == Some(catalog.generation()) {
            return Vec::new();
        }
        let mut removed = Vec::new();
        self.watchers.retain(|(resource, _)| {
            let served = catalog.named(resource).is_some();
            if !served {
                removed.push(resource.clone());
            }
            served
        });
        for row in catalog.iter().filter(|row| row.allows(Verb::Watch) && row.store().is_some()) {
            self.cache.write().add_resource((**row).as_ref());
            let resource = row.group_resource();
            if row.storage_group != row.group || self.watchers.iter().any(|(known, _)| *known == resource) {
                continue;
            }
            if let Ok(watcher) = self.registry.watch(row, WatchFrom::Start, Selection::everything()) {
                self.watchers.push((resource, watcher));
            }
        }
        removed.into_iter().map(|resource| self.remove_all(resource)).collect()
    }

    /// Removes the objects of a resource that is no longer served.
    fn remove_all(&self, resource: GroupResource) -> Changes {
        let (revision, now) = (self.registry.progress(), crate::storage::registry::now().seconds());
        let mut cache = self.cache.write();
        let keys: Vec<Key> = cache.objects(&resource).map(|(key, _)| key.clone()).collect();
        let changes = keys.iter().filter_map(|key| cache.remove(&resource, key, revision, now)).collect();
        cache.remove_resource(&resource);
        (resource, changes)
    }

    /// Applies all pending changes of the watchers to the cache.
    fn drain(&mut self) -> Vec<Changes> {
        let mut all = Vec::new();
        let mut watchers = std::mem::take(&mut self.watchers);
        for (resource, watcher) in &mut watchers {
            let mut changes = Vec::new();
            loop {
                match watcher.poll(BATCH_MAX) {
                    Ok(batch) if batch.deliveries.is_empty() => break,
                    Ok(batch) => self.put(resource, &batch.deliveries, &mut changes),
                    Err(_) => match self.watch_again(resource) {
                        Some((fresh, present)) => {
                            self.remove_missing(resource, &present, &mut changes);
                            *watcher = fresh;
                        }
                        None => break,
                    },
                }
            }
            if !changes.is_empty() {
                all.push((resource.clone(), changes));
            }
        }
        self.watchers = watchers;
        all
    }

    fn put(&self, resource: &GroupResource, deliveries: &[Delivery], changes: &mut Vec<ObjectChange>) {
        let now = crate::storage::registry::now().seconds();
        // Decode before taking the lock.
        let decoded: Vec<(&Delivery, Option<NewObject>)> = deliveries
            .iter()
            .map(|delivery| {
                let deleted = delivery.kind == watch_cache::ChangeKind::Deleted;
                (delivery, (!deleted).then(|| self.decode(resource, &delivery.object)))
            })
            .collect();
        let mut cache = self.cache.write();
        for (delivery, new) in decoded {
            match new {
                Some(new) => changes.push(cache.put(resource, new, now)),
                None => {
                    let key = Key::of(delivery.object.header());
                    changes.extend(cache.remove(resource, &key, delivery.revision, now));
                    self.pod_views.forget(&delivery.object.header().uid);
                }
            }
        }
    }

    fn decode(&self, resource: &GroupResource, object: &Object) -> NewObject {
        let (stored, revision) = (object.stored().clone(), object.revision);
        let view = match resource.parts() == (Pod::GROUP, Pod::PLURAL) {
            true => self.pod_views.of(object).map(|view| Some(view as Arc<dyn std::any::Any + Send + Sync>)),
            false => self.decoder.decode(resource, &stored, revision),
        };
        let view = view.unwrap_or_else(|error| {
            tracing::error!(%resource, name = object.name(), %error, "stored object cannot be decoded; no controller acts on it");
            None
        });
        NewObject { object: stored, revision, view }
    }

    /// Watches a resource again after its watcher lagged; `None` if it is no longer served.
    fn watch_again(&self, resource: &GroupResource) -> Option<(Watcher, Arc<WatchCache>)> {
        let cache = self.registry.catalog().named(resource)?.store()?.cache().clone();
        Some((cache.watch(WatchFrom::Start, Selection::everything()).ok()?, cache))
    }

    /// Removes objects that were deleted while the watcher lagged.
    fn remove_missing(
        &self,
        resource: &GroupResource,
        present: &WatchCache,
        changes: &mut Vec<ObjectChange>,
    ) {
        let exists = |key: &Key, uid: &str| {
            present.get(&key.namespace, &key.name).is_some_and(|object| object.header().uid == uid)
        };
        let missing: Vec<(Key, String)> = {
            let cache = self.cache.snapshot();
            let all = cache.objects(resource).map(|(key, object)| (key.clone(), object.header().uid.clone()));
            all.filter(|(key, uid)| !exists(key, uid)).collect()
        };
        let (revision, now) = (self.registry.progress(), crate::storage::registry::now().seconds());
        for (key, uid) in missing {
            changes.extend(self.cache.write().remove(resource, &key, revision, now));
            self.pod_views.forget(&uid);
        }
    }

    /// Enqueues the keys that these changes affect.
    fn dispatch(&self, resource: &GroupResource, changes: &[ObjectChange]) {
        let now = crate::storage::registry::now().seconds();
        for (controller, queue) in &self.controllers {
            if !controller.inputs.iter().any(|input| input.covers(resource)) {
                continue;
            }
            let cache = self.cache.snapshot();
            let view = View::new(&cache, now, None);
            let mut keys = Vec::new();
            for change in changes {
                match catch_unwind(AssertUnwindSafe(|| controller.keys(change, &view))) {
                    Ok(concerned) => keys.extend(concerned.into_iter().map(|key| (key, change.revision))),
                    Err(_) => {
                        tracing::error!(controller = controller.name, object = %change.name(), "controller panicked while computing keys");
                    }
                }
            }
            drop(cache);
            if !keys.is_empty() {
                queue.add(keys, Instant::now());
            }
        }
    }

    /// Passes every object to the controllers that read its resource, as a modification.
    async fn resync(&self) {
        for (resource, _) in &self.watchers {
            let interested = self.controllers.iter().any(|(controller, _)| {
                controller.inputs.iter().any(|input| input.resource().is_some() && input.covers(resource))
            });
            if !interested {
                continue;
            }
            let changes: Vec<ObjectChange> = {
                let cache = self.cache.snapshot();
                let unchanged = cache.objects(resource).map(|(_, object)| ObjectChange {
                    resource: resource.clone(),
                    kind: ChangeKind::Modified,
                    revision: 0,
                    object: object.clone(),
                    previous: Some(object.clone()),
                });
                unchanged.collect()
            };
            for chunk in changes.chunks(BATCH_MAX) {
                self.dispatch(resource, chunk);
                tokio::task::yield_now().await;
            }
        }
        self.controllers.iter().for_each(|(_, queue)| queue.lock().trim());
    }
}
