//! Inputs: which resources a controller reads, and as which typed view.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use shim_model::{object::StoredObject, resource::GroupResource};

use crate::{
    controllers::served,
    rows::{LabelSelector, ObjectView},
};

/// A view with its type erased.
pub type AnyView = Arc<dyn Any + Send + Sync>;

/// What the indices take from a view.
#[derive(Clone, Copy)]
pub(super) struct ViewType {
    pub indexed_by_labels: bool,
    type_id: std::any::TypeId,
    decode: fn(&Arc<StoredObject>, u64) -> Result<AnyView, serde_json::Error>,
    selector: fn(&AnyView) -> Option<&LabelSelector>,
    node: fn(&AnyView) -> Option<&str>,
}

impl ViewType {
    fn of<V: ObjectView>() -> ViewType {
        ViewType {
            indexed_by_labels: V::INDEXED_BY_LABELS,
            type_id: std::any::TypeId::of::<V>(),
            decode: |object, revision| Ok(Arc::new(V::parse(object, revision)?)),
            selector: |view| view.downcast_ref::<V>().and_then(V::selector),
            node: |view| view.downcast_ref::<V>().and_then(V::node),
        }
    }

    pub fn same(&self, other: &ViewType) -> bool {
        self.type_id == other.type_id
    }

    pub fn decode(&self, object: &Arc<StoredObject>, revision: u64) -> Result<AnyView, serde_json::Error> {
        (self.decode)(object, revision)
    }

    pub fn selector<'a>(&self, view: &'a AnyView) -> Option<&'a LabelSelector> {
        (self.selector)(view)
    }

    pub fn node<'a>(&self, view: &'a AnyView) -> Option<&'a str> {
        (self.node)(view)
    }
}

/// Decodes typed views.
#[derive(Clone)]
pub struct Decoder {
    views: Arc<BTreeMap<GroupResource, ViewType>>,
}

impl Decoder {
    pub(super) fn new(views: BTreeMap<GroupResource, ViewType>) -> Decoder {
        Decoder { views: Arc::new(views) }
    }

    /// Decodes the typed view of an object; `None` if no controller reads the resource as one.
    pub fn decode(
        &self,
        resource: &GroupResource,
        object: &Arc<StoredObject>,
        revision: u64,
    ) -> Result<Option<AnyView>, serde_json::Error> {
        let view = self.views.get(resource);
        view.map(|view| view.decode(object, revision)).transpose()
    }
}

/// One thing that a controller reads.
#[derive(Clone)]
pub struct Input(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Every,
    Headers { resource: GroupResource, indexed_by_labels: bool },
    Views { resource: GroupResource, view: ViewType },
}

impl Input {
    /// Objects of every resource, by their headers.
    pub fn every_resource() -> Input {
        Input(Kind::Every)
    }

    /// Objects of one resource, by their headers and bytes.
    pub fn headers(group: &'static str, plural: &'static str) -> Input {
        Input(Kind::Headers { resource: served(group, plural), indexed_by_labels: false })
    }

    /// The same, indexed by labels.
    pub fn headers_by_labels(group: &'static str, plural: &'static str) -> Input {
        Input(Kind::Headers { resource: served(group, plural), indexed_by_labels: true })
    }

    /// Objects of one resource as typed views.
    pub fn views<V: ObjectView>() -> Input {
        Input(Kind::Views { resource: served(V::GROUP, V::PLURAL), view: ViewType::of::<V>() })
    }

    /// Whether a change of this resource is a change of the input.
    pub fn covers(&self, resource: &GroupResource) -> bool {
        self.resource().is_none_or(|own| own == resource)
    }

    /// The resource; `None` means every resource.
    pub fn resource(&self) -> Option<&GroupResource> {
        match &self.0 {
            Kind::Every => None,
            Kind::Headers { resource, .. } | Kind::Views { resource, .. } => Some(resource),
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.resource() {
            None => f.write_str("every resource"),
            Some(resource) => write!(f, "{resource}"),
        }
    }
}
