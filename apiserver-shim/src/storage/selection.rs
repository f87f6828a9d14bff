//! Selects the objects of a LIST, WATCH or DELETECOLLECTION by namespace, label selector and field selector. Matches
//! against headers, without decoding.

use std::collections::BTreeMap;

use shim_model::selector::{FieldSelector, LabelSelector};

use crate::storage::object::Object;

mod shown;

pub use shown::{CONVERTED_MAX, ShownSelection, ShownVersions};

/// A selection of objects; the default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Selects all objects.
    pub fn everything() -> Self {
        Selection::default()
    }

    /// Selects all objects of a namespace.
    pub fn namespace_of(namespace: &str) -> Self {
        Selection { namespace: Some(namespace.to_owned()), ..Selection::default() }
    }

    /// Selects objects that match both selectors, in one namespace or in all.
    pub fn new(namespace: Option<&str>, labels: LabelSelector, fields: FieldSelector) -> Self {
        // `metadata.namespace=X` as a field selector limits the scan to that namespace.
        let namespace = namespace.or_else(|| fields.exact("metadata.namespace").filter(|n| !n.is_empty()));
        Selection { namespace: namespace.map(str::to_owned), labels, fields }
    }

    /// The namespace, if the selection is limited to one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The name, if a field selector requires one.
    pub fn exact_name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// The label selector.
    pub fn labels(&self) -> &LabelSelector {
        &self.labels
    }

    /// The field selector.
    pub fn fields(&self) -> &FieldSelector {
        &self.fields
    }

    /// Whether a selector may exclude objects of the namespace.
    pub fn is_selective(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_parts(object, &object.header().labels, |field| object.field(field))
    }

    /// Whether an object with these labels and fields of its kind is selected.
    fn matches_parts<'a>(
        &self,
        object: &'a Object,
        labels: &BTreeMap<String, String>,
        own: impl Fn(&str) -> Option<&'a str>,
    ) -> bool {
        if self.namespace.as_deref().is_some_and(|n| n != object.namespace()) {
            return false;
        }
        if !self.labels.is_everything() && !self.labels.matches(labels) {
            return false;
        }
        self.fields.is_everything()
            || self.fields.matches(|field| match field {
                "metadata.name" => Some(object.name()),
                "metadata.namespace" => Some(object.namespace()),
                other => own(other),
            })
    }
}
