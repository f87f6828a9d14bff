//! Selections in a version of a custom resource that is not the stored one. As upstream, selectors are compared with the
//! object as the requested version shows it. A conversion is asynchronous, so that objects are converted before they
//! are compared; what selectors compare is kept with the object, which is converted once for each version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use shim_core::definition::ResourceDefinition;
use shim_core::kinds::FieldName;
use shim_model::object::Header;
use shim_model::status::Status;

use super::Selection;
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;

/// Objects of one conversion: a webhook gets no larger body than a list of 500 objects would be.
pub const CONVERTED_MAX: usize = 500;

/// What selectors compare of an object in one version.
#[derive(Debug, Default)]
pub struct ShownFields {
    /// The labels, if the conversion changes them.
    labels: Option<BTreeMap<String, String>>,
    /// The values of the selectable fields.
    fields: Vec<(FieldName, String)>,
}

/// An object's fields in the versions that selectors have asked for. A definition that was replaced is forgotten with the
/// next.
#[derive(Debug, Default)]
pub struct ShownVersions(Mutex<Vec<(Weak<ResourceDefinition>, Arc<ShownFields>)>>);

impl ShownVersions {
    /// What the version shows, if the object was converted.
    fn find(&self, definition: &Arc<ResourceDefinition>) -> Option<Arc<ShownFields>> {
        let versions = self.0.lock().expect("invariant: nobody panics who reads the versions");
        let found = versions.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(definition)));
        found.map(|(_, shown)| shown.clone())
    }

    fn keep(&self, definition: &Arc<ResourceDefinition>, shown: Arc<ShownFields>) {
        let mut versions = self.0.lock().expect("invariant: nobody panics who adds a version");
        versions
            .retain(|(of, _)| of.strong_count() > 0 && !std::ptr::eq(of.as_ptr(), Arc::as_ptr(definition)));
        versions.push((Arc::downgrade(definition), shown));
    }
}

/// A selection by what a version shows.
#[derive(Clone, Copy, Debug)]
pub struct ShownSelection<'a> {
    resource: &'a ServedResource,
    selection: &'a Selection,
}

impl<'a> ShownSelection<'a> {
    /// The selection in a version; `None` if the stored objects can be compared as they are.
    pub fn new(resource: &'a ServedResource, selection: &'a Selection) -> Option<Self> {
        let differs = resource.custom.is_some() && !resource.is_stored_version();
        let by_label = !selection.labels.is_everything() && resource.converter().is_remote();
        (differs && (by_label || selection.names_own_fields()))
            .then_some(ShownSelection { resource, selection })
    }

    /// The part of the selection that all versions show alike. It selects no fewer objects.
    pub fn coarse(&self) -> Selection {
        let mut coarse = self.selection.clone();
        coarse.fields.terms.retain(|term| is_identity(&term.field));
        if self.resource.converter().is_remote() {
            coarse.labels = Default::default();
        }
        coarse
    }

    /// Whether each of the objects is selected.
    ///
    /// # Errors
    /// That of the conversion.
    pub async fn matches(&self, objects: &[&Arc<Object>]) -> Result<Vec<bool>, Status> {
        let definition = self.resource.definition();
        let mut missing: Vec<Arc<Object>> = Vec::new();
        for object in objects {
            let known = object.shown().is_some_and(|shown| shown.find(definition).is_some());
            if !known && !missing.iter().rev().take(2).any(|other| Arc::ptr_eq(other, object)) {
                missing.push((*object).clone());
            }
        }
        for batch in missing.chunks(CONVERTED_MAX) {
            let converted = self.resource.decode_all(batch).await?;
            for (object, value) in batch.iter().zip(&converted) {
                let labels =
                    Some(Header::of(value).labels).filter(|labels| *labels != object.header().labels);
                let fields = definition.strategy().selectable(value);
                object.shown_or_default().keep(definition, Arc::new(ShownFields { labels, fields }));
            }
        }
        Ok(objects.iter().map(|object| self.matches_converted(object)).collect())
    }

    fn matches_converted(&self, object: &Object) -> bool {
        let shown = object.shown().and_then(|shown| shown.find(self.resource.definition()));
        let shown = shown.unwrap_or_default();
        let labels = shown.labels.as_ref().unwrap_or(&object.header().labels);
        let field = |name: &str| shown.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        self.selection.matches_parts(object, labels, field)
    }
}

/// Whether a field is one that no conversion changes.
fn is_identity(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

impl Selection {
    /// Whether the field selector names fields of the kind.
    fn names_own_fields(&self) -> bool {
        self.fields.terms.iter().any(|term| !is_identity(&term.field))
    }
}
