//! The catalog of this server: definitions of resources together with the stores of their objects.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use shim_core::definition::ResourceDefinition;
use shim_model::resource::{GroupResource, Resource};
use store::Key;

use super::registry::Registry;
use super::watch_cache::{WatchCache, push_key};

/// The catalog of one generation.
pub type Catalog = shim_model::catalog::Catalog<ServedResource>;

/// A row of the catalog.
#[derive(Debug)]
pub struct ServedResource {
    definition: Arc<ResourceDefinition>,
    store: Option<Arc<ResourceStore>>,
}

impl ServedResource {
    /// A resource whose objects are in `store`; none for resources that are only asked, such as reviews.
    pub fn new(definition: Arc<ResourceDefinition>, store: Option<Arc<ResourceStore>>) -> Self {
        ServedResource { definition, store }
    }

    /// What is known of the resource.
    pub fn definition(&self) -> &Arc<ResourceDefinition> {
        &self.definition
    }

    /// Where its objects are; none for resources that are only asked, such as reviews.
    pub fn store(&self) -> Option<&Arc<ResourceStore>> {
        self.store.as_ref()
    }

    /// The same where the caller knows that there is one.
    pub(crate) fn stored(&self) -> &Arc<ResourceStore> {
        self.store.as_ref().expect("invariant: only resources with a store are read and written")
    }

    /// Its objects in memory.
    pub fn cache(&self) -> &Arc<WatchCache> {
        self.stored().cache()
    }

    /// The store key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        self.stored().key(namespace, name)
    }
}

impl Deref for ServedResource {
    type Target = ResourceDefinition;

    fn deref(&self) -> &ResourceDefinition {
        &self.definition
    }
}

impl AsRef<Resource> for ServedResource {
    fn as_ref(&self) -> &Resource {
        &self.definition
    }
}

/// The objects below one prefix of the store. Resources that share storage share it.
pub struct ResourceStore {
    prefix: String,
    definition: Arc<ResourceDefinition>,
    cache: Arc<WatchCache>,
}

impl fmt::Debug for ResourceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ResourceStore {
    /// The store of the objects of `definition`, which is the version that they are stored in.
    pub(crate) fn new(definition: Arc<ResourceDefinition>, cache: Arc<WatchCache>) -> Self {
        ResourceStore { prefix: definition.storage_prefix(), definition, cache }
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The version that objects are stored in.
    pub fn definition(&self) -> &Arc<ResourceDefinition> {
        &self.definition
    }

    /// Its objects in memory.
    pub fn cache(&self) -> &Arc<WatchCache> {
        &self.cache
    }

    /// The store key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + namespace.len() + name.len() + 1);
        key.push_str(&self.prefix);
        push_key(&mut key, namespace, name);
        Key::from(key)
    }
}

/// How callers name a resource: by a row of the catalog, or by the name of a resource, which is looked up.
pub trait ResourceName {
    /// The row; none if the resource is not served.
    fn resolve(&self, registry: &Registry) -> Option<Arc<ServedResource>>;
}

impl ResourceName for Arc<ServedResource> {
    fn resolve(&self, _: &Registry) -> Option<Arc<ServedResource>> {
        Some(self.clone())
    }
}

impl ResourceName for GroupResource {
    fn resolve(&self, registry: &Registry) -> Option<Arc<ServedResource>> {
        registry.catalog().named(self).cloned()
    }
}

impl<T: ResourceName> ResourceName for &T {
    fn resolve(&self, registry: &Registry) -> Option<Arc<ServedResource>> {
        (*self).resolve(registry)
    }
}

/// Definitions for unit tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The definition of a built-in resource.
    pub(crate) fn definition(group: &str, plural: &str) -> Arc<ResourceDefinition> {
        let found = shim_core::definition::builtin().into_iter().find(|d| d.is(group, plural));
        Arc::new(found.expect("the resource is served"))
    }
}
