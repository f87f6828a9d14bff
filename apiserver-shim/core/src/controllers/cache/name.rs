//! Names of objects: a resource and a key, ordered by group, plural, namespace and name.

use shim_model::{object::Header, resource::GroupResource};

use crate::rows::Key;

/// Names one object of any resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct ObjectName {
    pub resource: GroupResource,
    /// Namespace and name.
    pub key: Key,
}

impl ObjectName {
    /// The name of the object with this header.
    pub fn of(resource: GroupResource, header: &Header) -> ObjectName {
        ObjectName { resource, key: Key::of(header) }
    }

    /// A name from its parts.
    pub fn new(resource: GroupResource, namespace: &str, name: &str) -> ObjectName {
        ObjectName { resource, key: Key::new(namespace, name) }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.resource, self.key)
    }
}
