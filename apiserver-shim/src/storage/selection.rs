//! Which objects of a resource a LIST, WATCH or DELETECOLLECTION is about: a namespace, a label selector and a field
//! selector, matched against headers without decoding.

use shim_model::selector::{FieldSelector, LabelSelector};

use crate::storage::object::Object;

/// A choice of objects. The default one is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Every object.
    pub fn everything() -> Self {
        Selection::default()
    }

    /// Every object of a namespace.
    pub fn namespace_of(namespace: &str) -> Self {
        Selection { namespace: Some(namespace.to_owned()), ..Selection::default() }
    }

    /// The objects that both selectors let through, in one namespace or in all.
    pub fn new(namespace: Option<&str>, labels: LabelSelector, fields: FieldSelector) -> Self {
        // A field selector that names the namespace narrows what is walked through.
        let namespace = namespace.or_else(|| fields.exact("metadata.namespace").filter(|n| !n.is_empty()));
        Selection { namespace: namespace.map(str::to_owned), labels, fields }
    }

    /// The namespace, if there is only one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The one name that can match, if the field selector says so.
    pub fn exact_name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// Whether objects are left out by something else than their namespace.
    pub fn is_selective(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    /// Whether the object is chosen.
    pub fn matches(&self, object: &Object) -> bool {
        if self.namespace.as_deref().is_some_and(|n| n != object.namespace()) {
            return false;
        }
        if !self.labels.is_everything() && !self.labels.matches(&object.header().labels) {
            return false;
        }
        self.fields.is_everything()
            || self.fields.matches(|field| match field {
                "metadata.name" => Some(object.name()),
                "metadata.namespace" => Some(object.namespace()),
                other => object.field(other),
            })
    }
}
