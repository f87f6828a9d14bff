//! The catalog of resources that this server serves: each resource's definition together with its store.

use std::ops::Deref;
use std::sync::Arc;

use ::store::Key;
use serde_json::Value;
use shim_core::definition::ResourceDefinition;
use shim_model::resource::{GroupResource, Resource};
use shim_model::status::{self, Status};

use super::object::Object;
use super::registry::Registry;
use super::watch_cache::WatchCache;
use crate::metrics::requests::ResourceSeries;

mod documents;
mod store;
mod unreadable;

pub use documents::{Document, DocumentKey, Documents};
pub use store::{ParsedListing, ResourceStore};
pub use unreadable::UnreadableObjects;

/// The rows of a catalog.
pub type Rows = shim_model::catalog::Catalog<ServedResource>;

/// One generation of the catalog, with the discovery and OpenAPI documents derived from it.
#[derive(Debug)]
pub struct Catalog {
    rows: Rows,
    documents: Documents,
}

impl Catalog {
    /// The first catalog of a server.
    pub fn new(rows: Rows) -> Self {
        Catalog { rows, documents: Documents::default() }
    }

    /// The catalog that succeeds `old`. Documents of group-versions that have not changed are reused.
    pub fn after(old: &Catalog, rows: Rows) -> Self {
        fn rows_of<'a>(rows: &'a Rows, group: &'a str, version: &'a str) -> Vec<*const ServedResource> {
            let of_version = rows.iter().filter(|r| r.group == group && r.version == version);
            of_version.map(Arc::as_ptr).collect()
        }
        let is_changed =
            |group: &str, version: &str| rows_of(&old.rows, group, version) != rows_of(&rows, group, version);
        let documents = old.documents.next(is_changed);
        Catalog { rows, documents }
    }

    /// Discovery and OpenAPI documents of this generation.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }
}

impl Deref for Catalog {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.rows
    }
}

/// A row of the catalog: one resource in one version.
#[derive(Debug)]
pub struct ServedResource {
    definition: Arc<ResourceDefinition>,
    store: Option<Arc<ResourceStore>>,
    versions: Vec<Arc<ResourceDefinition>>,
    series: ResourceSeries,
}

impl ServedResource {
    /// `store` is `None` for virtual resources, whose objects are never stored, such as reviews. `versions` are all of the
    /// resource, this one and those that are not served included.
    pub fn new(
        definition: Arc<ResourceDefinition>,
        store: Option<Arc<ResourceStore>>,
        versions: Vec<Arc<ResourceDefinition>>,
    ) -> Self {
        ServedResource { definition, store, versions, series: ResourceSeries::default() }
    }

    /// All versions of the resource's objects, those that are not served included.
    pub fn versions(&self) -> &[Arc<ResourceDefinition>] {
        &self.versions
    }

    /// The resource's static definition: names, strategy and converter.
    pub fn definition(&self) -> &Arc<ResourceDefinition> {
        &self.definition
    }

    /// The metrics of requests for the resource.
    pub fn series(&self) -> &ResourceSeries {
        &self.series
    }

    /// The store of the resource's objects; `None` for virtual resources such as reviews.
    pub fn store(&self) -> Option<&Arc<ResourceStore>> {
        self.store.as_ref()
    }

    /// Like [`ServedResource::store`], for callers that know that the resource is stored.
    pub(crate) fn stored(&self) -> &Arc<ResourceStore> {
        self.store.as_ref().expect("invariant: only resources with a store are read and written")
    }

    /// The watch cache of the resource.
    pub fn cache(&self) -> &Arc<WatchCache> {
        self.stored().cache()
    }

    /// Decodes an object and converts it to this version. The resourceVersion is set.
    pub async fn decode(&self, object: &Object) -> Result<Value, Status> {
        if self.is_stored_version() {
            return Ok(object.value());
        }
        self.converter().to_served(vec![object.value()]).await.and_then(only)
    }

    /// Decodes objects and converts them to this version. The resourceVersions are set.
    pub async fn decode_all(&self, objects: &[Arc<Object>]) -> Result<Vec<Value>, Status> {
        let values = objects.iter().map(|object| object.value()).collect();
        if self.is_stored_version() { Ok(values) } else { self.converter().to_served(values).await }
    }

    /// Converts a decoded object from the storage version to this version.
    pub async fn to_served(&self, stored: Value) -> Result<Value, Status> {
        match self.is_stored_version() {
            true => Ok(stored),
            false => self.converter().to_served(vec![stored]).await.and_then(only),
        }
    }

    /// Converts an object of this version to the storage version.
    pub async fn to_stored(&self, served: Value) -> Result<Value, Status> {
        match self.is_stored_version() {
            true => Ok(served),
            false => self.converter().to_stored(vec![served]).await.and_then(only),
        }
    }

    /// The store key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        self.stored().key(namespace, name)
    }
}

/// Extracts the single result of converting a single object.
fn only(mut converted: Vec<Value>) -> Result<Value, Status> {
    match (converted.pop(), converted.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err(status::internal("the converter returned a different number of objects than it was given")),
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

/// A way to name a resource: a catalog row, or a group and resource name that is looked up in the catalog.
pub trait ResourceName {
    /// Returns the catalog row, or `None` if the resource is not served.
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
    use std::sync::LazyLock;

    /// The definition of a built-in resource.
    pub(crate) fn definition(group: &str, plural: &str) -> Arc<ResourceDefinition> {
        static BUILTIN: LazyLock<Vec<ResourceDefinition>> = LazyLock::new(shim_core::definition::builtin);
        let found = BUILTIN.iter().find(|d| d.is(group, plural)).cloned();
        Arc::new(found.expect("the resource is served"))
    }
}
