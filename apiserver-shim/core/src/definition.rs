//! A resource together with the rules of its kind.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use shim_model::resource::Resource;

use crate::kinds::{self, Strategy};

/// Everything that the API server needs to serve a resource, except the objects themselves.
#[derive(Clone)]
pub struct ResourceDefinition {
    resource: Resource,
    strategy: Arc<dyn Strategy>,
}

impl ResourceDefinition {
    /// A resource whose objects follow `strategy`.
    pub fn new(resource: Resource, strategy: Arc<dyn Strategy>) -> Self {
        ResourceDefinition { resource, strategy }
    }

    /// The rules of its kind.
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
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

/// The definitions of the built-in resources.
pub fn builtin() -> Vec<ResourceDefinition> {
    let rows = shim_model::resource::builtin().into_iter();
    rows.map(|row| ResourceDefinition { strategy: kinds::builtin(&row), resource: row }).collect()
}
