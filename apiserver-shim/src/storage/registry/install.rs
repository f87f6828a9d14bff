//! Installs and uninstalls resources at run time. Each change publishes a new catalog generation; requests in
//! progress keep the generation that they loaded.

use std::collections::HashMap;
use std::sync::Arc;

use shim_core::definition::ResourceDefinition;
use shim_model::resource::{GroupResource, Resource, Verb};
use tokio::sync::watch;

use super::{Registry, feed};
use crate::storage::catalog::{Catalog, ResourceStore, Rows, ServedResource};

/// Attempts to list a prefix whose events overflow the buffer.
const LISTINGS_MAX: usize = 4;

/// Why a resource could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The name is taken by another resource.
    #[error("{0} is served already")]
    Taken(String),
    /// The kind is taken by another resource of the group-version.
    #[error("the kind {0} is served already")]
    KindTaken(String),
    /// None of the versions is the storage version.
    #[error("{0} has no version that its objects are stored in")]
    NotStored(String),
    /// The objects changed faster than they could be listed.
    #[error("the objects of {0} change too fast to be listed")]
    TooBusy(String),
    /// The store failed.
    #[error("the objects could not be listed")]
    Store(#[from] store::Error),
}

/// Finds a resource's store by key prefix.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) stores: Vec<Arc<ResourceStore>>,
    by_prefix: HashMap<String, usize>,
    /// The stores that are about to take the place of one with the same prefix.
    successors: HashMap<String, usize>,
}

impl Routes {
    pub(super) fn new(stores: Vec<Arc<ResourceStore>>) -> Self {
        let (mut by_prefix, mut successors) = (HashMap::new(), HashMap::new());
        for (i, store) in stores.iter().enumerate() {
            let map = if by_prefix.contains_key(store.prefix()) { &mut successors } else { &mut by_prefix };
            map.insert(store.prefix().to_owned(), i);
        }
        Routes { stores, by_prefix, successors }
    }

    /// The index of a store.
    pub(super) fn find(&self, prefix: &str) -> Option<usize> {
        self.by_prefix.get(prefix).copied()
    }

    /// The index of the store that is about to take the place of [`Routes::find`]'s.
    pub(super) fn successor(&self, prefix: &str) -> Option<usize> {
        if self.successors.is_empty() { None } else { self.successors.get(prefix).copied() }
    }

    fn newest(&self, prefix: &str) -> Option<&Arc<ResourceStore>> {
        self.successor(prefix).or(self.find(prefix)).map(|at| &self.stores[at])
    }
}

/// Whether objects of the resource are stored. Virtual resources, such as reviews and bindings, are not.
pub(super) fn is_stored(resource: &Resource) -> bool {
    resource.allows(Verb::Get) && resource.allows(Verb::List) && resource.allows(Verb::Watch)
}

/// The catalog rows of definitions whose stores are open.
pub(super) fn rows<'a>(
    definitions: impl IntoIterator<Item = &'a Arc<ResourceDefinition>>,
    routes: &Routes,
) -> Vec<Arc<ServedResource>> {
    let definitions: Vec<&Arc<ResourceDefinition>> = definitions.into_iter().collect();
    let mut by_prefix: HashMap<String, Vec<Arc<ResourceDefinition>>> = HashMap::new();
    for definition in &definitions {
        by_prefix.entry(definition.storage_prefix()).or_default().push((*definition).clone());
    }
    let row = |definition: &Arc<ResourceDefinition>| {
        let prefix = definition.storage_prefix();
        let store = is_stored(definition).then(|| routes.newest(&prefix).cloned());
        let versions = by_prefix.get(&prefix).cloned().unwrap_or_default();
        Arc::new(ServedResource::new(definition.clone(), store.flatten(), versions))
    };
    let is_served = |definition: &&Arc<ResourceDefinition>| {
        definition.custom.as_ref().is_none_or(|custom| custom.is_served)
    };
    definitions.into_iter().filter(is_served).map(row).collect()
}

impl Registry {
    /// Installs resources: all versions of each, the preferred version first. Lists their objects from the store;
    /// from then on the feed updates them.
    pub async fn install(&self, definitions: Vec<ResourceDefinition>) -> Result<(), InstallError> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let definitions: Vec<Arc<ResourceDefinition>> = definitions.into_iter().map(Arc::new).collect();
        check(&self.catalog(), &definitions)?;
        let mut opened = Vec::new();
        for definition in definitions.iter().filter(|d| is_stored(d)) {
            let prefix = definition.storage_prefix();
            if self.inner.routes.load().find(&prefix).is_some() {
                continue;
            }
            let store = Arc::new(ResourceStore::opening(stored_version(&definitions, definition)?.clone()));
            self.route(|stores| stores.push(store.clone()));
            opened.push(store.clone());
            if let Err(error) = self.open_store(&store).await {
                self.route(|stores| stores.retain(|s| !opened.iter().any(|o| Arc::ptr_eq(o, s))));
                return Err(error);
            }
        }
        let rows = rows(&definitions, &self.inner.routes.load());
        self.change_catalog(|all| all.extend(rows.clone()));
        Ok(())
    }

    /// Replaces all versions of a resource, which is installed if it is not served yet. No request finds it missing meanwhile.
    /// Its watches end, and the objects are read from the store again.
    pub async fn replace(&self, definitions: Vec<ResourceDefinition>) -> Result<(), InstallError> {
        let Some(name) = definitions.first().map(|definition| definition.group_resource()) else {
            return Ok(());
        };
        let one_at_a_time = self.inner.changing.lock().await;
        if self.catalog().named(&name).is_none() {
            drop(one_at_a_time);
            return self.install(definitions).await;
        }
        let definitions: Vec<Arc<ResourceDefinition>> = definitions.into_iter().map(Arc::new).collect();
        let is_named = |row: &Arc<ServedResource>| row.is(name.group(), name.resource());
        let others = self.catalog().iter().filter(|row| !is_named(row)).cloned().collect::<Vec<_>>();
        check(&Catalog::new(Rows::new(0, others)), &definitions)?;
        let store = Arc::new(ResourceStore::opening(stored_version(&definitions, &definitions[0])?.clone()));
        self.route(|stores| stores.push(store.clone()));
        if let Err(error) = self.open_store(&store).await {
            self.route(|stores| stores.retain(|s| !Arc::ptr_eq(s, &store)));
            return Err(error);
        }
        self.replace_rows(&name, &definitions);
        // Requests that hold the old catalog, and its watches, still see what was acknowledged so far.
        if let Err(status) = self.fresh().await {
            tracing::warn!(resource = %name, %status, "watches of a replaced resource may miss its last changes");
        }
        let is_old = |s: &Arc<ResourceStore>| s.prefix() == store.prefix() && !Arc::ptr_eq(s, &store);
        let closed: Vec<_> = self.inner.routes.load().stores.iter().filter(|s| is_old(s)).cloned().collect();
        self.route(|stores| stores.retain(|s| !is_old(s)));
        closed.iter().for_each(|store| store.cache().close());
        drop(one_at_a_time);
        Ok(())
    }

    /// Replaces the definitions of an installed resource whose objects are stored and read as before. Its watches go on.
    pub async fn redefine(&self, definitions: Vec<ResourceDefinition>) {
        let _one_at_a_time = self.inner.changing.lock().await;
        let definitions: Vec<Arc<ResourceDefinition>> = definitions.into_iter().map(Arc::new).collect();
        let Some(first) = definitions.first() else { return };
        self.replace_rows(&first.group_resource(), &definitions);
    }

    /// Replaces the rows of a resource by those of its new definitions.
    fn replace_rows(&self, name: &GroupResource, definitions: &[Arc<ResourceDefinition>]) {
        let rows = rows(definitions, &self.inner.routes.load());
        self.change_catalog(|all| {
            all.retain(|row| !row.is(name.group(), name.resource()));
            all.extend(rows.clone());
        });
    }

    /// Uninstalls a resource in all versions and ends its watches. Its objects stay in the store; delete them first
    /// if they are not wanted. Returns false if the resource is not served.
    pub async fn uninstall(&self, name: &GroupResource) -> bool {
        let _one_at_a_time = self.inner.changing.lock().await;
        let is_named = |row: &Arc<ServedResource>| row.is(name.group(), name.resource());
        if !self.catalog().iter().any(is_named) {
            return false;
        }
        self.change_catalog(|all| all.retain(|row| !is_named(row)));
        // Let the watches deliver all changes that are acknowledged so far.
        if let Err(status) = self.fresh().await {
            tracing::warn!(resource = %name, %status, "watches of an uninstalled resource may miss its last changes");
        }
        let catalog = self.catalog();
        let used: Vec<&Arc<ResourceStore>> = catalog.iter().filter_map(|row| row.store()).collect();
        let unused = |store: &Arc<ResourceStore>| !used.iter().any(|u| Arc::ptr_eq(u, store));
        let closed: Vec<_> = self.inner.routes.load().stores.iter().filter(|s| unused(s)).cloned().collect();
        self.route(|stores| stores.retain(|store| !unused(store)));
        closed.iter().for_each(|store| store.cache().close());
        true
    }

    /// Subscribes to the catalog's generation number.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// Lists the objects of a store that is already in the routes, so that no event is lost: the store buffers events
    /// that arrive meanwhile, and earlier ones are in the listing.
    async fn open_store(&self, store: &ResourceStore) -> Result<(), InstallError> {
        for _ in 0..LISTINGS_MAX {
            let (listing, revision) = feed::read_all(&**self.store(), store.prefix()).await?;
            let parsed = feed::parse_prefix(store.definition(), store.prefix(), &listing);
            if store.open(parsed, revision) {
                return Ok(());
            }
        }
        Err(InstallError::TooBusy(store.definition().qualified()))
    }

    fn route(&self, change: impl Fn(&mut Vec<Arc<ResourceStore>>)) {
        let mut stores = self.inner.routes.load().stores.clone();
        change(&mut stores);
        self.inner.routes.store(Arc::new(Routes::new(stores)));
    }

    fn change_catalog(&self, change: impl Fn(&mut Vec<Arc<ServedResource>>)) {
        let old = self.catalog();
        let mut all: Vec<Arc<ServedResource>> = old.iter().cloned().collect();
        change(&mut all);
        let next = Catalog::after(&old, Rows::new(old.generation() + 1, all));
        let generation = next.generation();
        self.inner.catalog.store(Arc::new(next));
        self.inner.generation.send_replace(generation);
    }
}

/// The definition in whose version the objects of `definition` are written.
fn stored_version<'a>(
    definitions: &'a [Arc<ResourceDefinition>],
    definition: &ResourceDefinition,
) -> Result<&'a Arc<ResourceDefinition>, InstallError> {
    let prefix = definition.storage_prefix();
    let stored = definitions.iter().find(|d| d.storage_prefix() == prefix && d.is_storage_version());
    stored.ok_or_else(|| InstallError::NotStored(definition.qualified()))
}

/// Checks that no served resource has one of the names.
fn check(catalog: &Catalog, definitions: &[Arc<ResourceDefinition>]) -> Result<(), InstallError> {
    for new in definitions {
        if catalog.named(&new.group_resource()).is_some() {
            return Err(InstallError::Taken(new.qualified()));
        }
        if catalog.by_kind(&new.group, &new.version, &new.kind).is_some() {
            return Err(InstallError::KindTaken(new.kind.clone()));
        }
    }
    Ok(())
}
