//! Resources come and go while the server runs. A change makes the catalog of the next generation; requests that began
//! before it keep theirs.

use std::collections::HashMap;
use std::sync::Arc;

use shim_core::definition::ResourceDefinition;
use shim_model::resource::{GroupResource, Resource, Verb};
use tokio::sync::watch;

use super::{Registry, feed};
use crate::storage::catalog::{Catalog, ResourceStore, Rows, ServedResource};

/// How often a prefix is listed that changes faster than it can be listed.
const LISTINGS_MAX: usize = 4;

/// Why a resource could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another resource has the name.
    #[error("{0} is served already")]
    Taken(String),
    /// Another resource of the group and version has the kind.
    #[error("the kind {0} is served already")]
    KindTaken(String),
    /// None of the versions is the one that objects are stored in.
    #[error("{0} has no version that its objects are stored in")]
    NotStored(String),
    /// The objects change faster than they can be listed.
    #[error("the objects of {0} change too fast to be listed")]
    TooBusy(String),
    /// The store failed.
    #[error("the objects could not be listed")]
    Store(#[from] store::Error),
}

/// Where the feed finds a resource's store by the prefix of a key.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) stores: Vec<Arc<ResourceStore>>,
    by_prefix: HashMap<String, usize>,
}

impl Routes {
    pub(super) fn new(stores: Vec<Arc<ResourceStore>>) -> Self {
        let by_prefix = stores.iter().enumerate().map(|(i, s)| (s.prefix().to_owned(), i)).collect();
        Routes { stores, by_prefix }
    }

    /// The place of a store.
    pub(super) fn find(&self, prefix: &str) -> Option<usize> {
        self.by_prefix.get(prefix).copied()
    }

    fn store(&self, prefix: &str) -> Option<&Arc<ResourceStore>> {
        self.find(prefix).map(|at| &self.stores[at])
    }
}

/// Whether objects of a resource are stored; reviews and bindings are not.
pub(super) fn is_stored(resource: &Resource) -> bool {
    resource.allows(Verb::Get) && resource.allows(Verb::List)
}

/// The rows of definitions whose stores are open.
pub(super) fn rows<'a>(
    definitions: impl IntoIterator<Item = &'a Arc<ResourceDefinition>>,
    routes: &Routes,
) -> Vec<Arc<ServedResource>> {
    let row = |definition: &Arc<ResourceDefinition>| {
        let store = is_stored(definition).then(|| routes.store(&definition.storage_prefix()).cloned());
        Arc::new(ServedResource::new(definition.clone(), store.flatten()))
    };
    definitions.into_iter().map(row).collect()
}

impl Registry {
    /// Serves further resources: all versions of each, the preferred one first. Their objects are read from the store,
    /// and from then on the feed keeps them up to date.
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
            let stored = definitions.iter().find(|d| d.storage_prefix() == prefix && d.is_stored_version());
            let stored = stored.ok_or_else(|| InstallError::NotStored(definition.qualified()))?;
            let store = Arc::new(ResourceStore::opening(stored.clone()));
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

    /// Stops serving a resource in all its versions. Its watches end; its objects stay in the store, and whoever wants
    /// them gone deletes them before. False if it is not served.
    pub async fn uninstall(&self, name: &GroupResource) -> bool {
        let _one_at_a_time = self.inner.changing.lock().await;
        let is_named = |row: &Arc<ServedResource>| row.is(name.group(), name.resource());
        if !self.catalog().iter().any(is_named) {
            return false;
        }
        self.change_catalog(|all| all.retain(|row| !is_named(row)));
        // The watches still get the changes that were acknowledged before.
        if let Err(status) = self.fresh().await {
            tracing::warn!(resource = %name, %status, "last changes of a removed resource may not reach its watches");
        }
        let catalog = self.catalog();
        let used: Vec<&Arc<ResourceStore>> = catalog.iter().filter_map(|row| row.store()).collect();
        let unused = |store: &Arc<ResourceStore>| !used.iter().any(|u| Arc::ptr_eq(u, store));
        let closed: Vec<_> = self.inner.routes.load().stores.iter().filter(|s| unused(s)).cloned().collect();
        self.route(|stores| stores.retain(|store| !unused(store)));
        closed.iter().for_each(|store| store.cache().close());
        true
    }

    /// The generation of the catalog; it changes with every change.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// Lists the objects of a store that the feed knows already, so that no event is lost: the feed keeps those that
    /// arrive meanwhile, and those that it passed over before are older than the listing.
    async fn open_store(&self, store: &ResourceStore) -> Result<(), InstallError> {
        for _ in 0..LISTINGS_MAX {
            let (listing, revision) = feed::read_all(&**self.store(), store.prefix()).await?;
            let objects = feed::parse_prefix(store.definition(), store.prefix(), &listing);
            if store.open(objects, revision) {
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

/// Whether nobody else has the names.
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
