//! A resource together with its strategy and converter.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::resource::Resource;
use shim_model::schema::{self, Schema};

use crate::converter::{Converter, Identity};
use crate::kinds::{self, Strategy};

/// Members that upstream's own types of a kind always have, though the served ones leave them out or require them.
const UNSET: &[(&str, &[&str], &str)] = &[
    ("ControllerRevision", &["data"], "null"),
    ("CertificateSigningRequest", &["spec", "request"], "null"),
    ("CustomResourceDefinition", &["spec", "names"], r#"{"kind":"","plural":""}"#),
    ("DaemonSet", &["spec", "selector"], "null"),
    ("Deployment", &["spec", "replicas"], "0"),
    ("Deployment", &["spec", "selector"], "null"),
    ("ReplicaSet", &["spec", "replicas"], "0"),
    ("ReplicaSet", &["spec", "selector"], "null"),
    ("StatefulSet", &["spec", "replicas"], "0"),
    ("StatefulSet", &["spec", "selector"], "null"),
];

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

    /// The members of an object of which nothing is set, as upstream writes it in bookmarks.
    pub fn unset_members(&self) -> Map<String, Value> {
        let mut object = json!({});
        if self.object_type.schema().is_structural() {
            return Map::new();
        }
        schema::check(&self.object_type, &mut object);
        for (_, path, text) in UNSET.iter().filter(|(kind, ..)| *kind == self.kind) {
            let value = serde_json::from_str(text).expect("the values of the table are JSON");
            let (last, parents) = path.split_last().expect("no path is empty");
            access::object_mut(&mut object, parents).insert((*last).to_owned(), value);
        }
        match object {
            Value::Object(members) => members.into_iter().filter(|(name, _)| name != "metadata").collect(),
            _ => Map::new(),
        }
    }

    /// The annotations that upstream writes although nothing is set.
    pub fn unset_annotations(&self) -> Vec<(&'static str, &'static str)> {
        let is_kind = self.kind == "DaemonSet" && self.group == "apps";
        is_kind.then_some((kinds::daemon_set::TEMPLATE_GENERATION, "0")).into_iter().collect()
    }

    /// The annotation that upstream's internal type has as a field. What shows only the metadata lacks it.
    pub fn field_annotation(&self) -> Option<&'static str> {
        self.unset_annotations().first().map(|(key, _)| *key)
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
