//! A resource together with its strategy and converter.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use shim_model::resource::Resource;
use shim_model::schema::Schema;

use crate::converter::{Converter, Identity};
use crate::kinds::{self, Strategy};

/// Everything that the API server needs to serve a resource, except for its objects.
#[derive(Clone)]
pub struct ResourceDefinition {
    resource: Resource,
    strategy: Arc<dyn Strategy>,
    converter: Arc<dyn Converter>,
}

impl ResourceDefinition {
    /// Creates the definition of a resource whose served version is the storage version.
    pub fn new(resource: Resource, strategy: Arc<dyn Strategy>) -> Self {
        ResourceDefinition { resource, strategy, converter: Arc::new(Identity) }
    }

    /// Sets the converter of a resource with another storage version.
    pub fn converted_by(self, converter: Arc<dyn Converter>) -> Self {
        ResourceDefinition { converter, ..self }
    }

    /// The strategy of the resource's kind.
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// The converter between this version and the storage version.
    pub fn converter(&self) -> &dyn Converter {
        &*self.converter
    }
}

impl Deref for ResourceDefinition {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.resource
    }
}

impl fmt::Display for ResourceDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.resource, f)
    }
}

impl fmt::Debug for ResourceDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.resource, f)
    }
}

/// The definitions of the built-in resources, which share one schema.
pub fn builtin() -> Vec<ResourceDefinition> {
    let rows = shim_model::resource::builtin(&Schema::builtin()).into_iter();
    let define = |row: Resource| {
        let definition = ResourceDefinition::new(row.clone(), kinds::builtin(&row));
        match (row.group.as_str(), row.version.as_str()) {
            ("events.k8s.io", _) => definition.converted_by(Arc::new(kinds::event::EventConverter)),
            ("autoscaling", "v1") => definition
                .converted_by(Arc::new(kinds::horizontal_pod_autoscaler::convert::AutoscalerConverter)),
            _ => definition,
        }
    };
    rows.map(define).collect()
}
