//! The controllers' cache: every object by name, with its typed view, and the indices over all of them. A pure value: the
//! shell feeds it from the watch caches and shares it between the workers.
//!
//! Its maps are persistent: a clone of the cache is a snapshot that shares everything with it, and a change copies only the
//! path to what it changes. So a reconcile reads a snapshot, and changes do not wait for it.

mod ended_pods;
mod indices;
mod input;
mod labels;
mod name;
mod removed_failures;
mod view;

pub use indices::Dependent;
pub use input::{AnyView, Decoder, Input};
pub use name::ObjectName;
pub use view::{OwnerLookup, Refusal, View};

use std::{collections::BTreeMap, sync::Arc};

use shim_model::{
    object::{Header, StoredObject},
    resource::{GroupResource, Resource},
};

use crate::{
    controllers::served,
    rows::{Key, Seconds},
};
use ended_pods::EndedPods;
use indices::{Indexing, Indices};
use input::Kind;
use removed_failures::RemovedFailures;

/// An ordered map whose clones share their entries.
type Map<K, V> = rpds::RedBlackTreeMapSync<K, V>;
/// An ordered set whose clones share their entries.
type Set<T> = rpds::RedBlackTreeSetSync<T>;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One version of an object.
#[derive(Clone)]
pub struct CachedObject {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// Its resourceVersion.
    pub revision: u64,
    view: Option<AnyView>,
}

impl std::fmt::Debug for CachedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", Key::of(&self.object.header), self.revision)
    }
}

/// One change, with the versions before and after it.
#[derive(Debug, Clone)]
pub struct ObjectChange {
    /// The resource of the object.
    pub resource: GroupResource,
    /// What happened.
    pub kind: ChangeKind,
    /// The store revision of the change.
    pub revision: u64,
    /// The object after the change; the last version of a deleted one.
    pub object: CachedObject,
    /// The object before the change; `None` if it was added.
    pub previous: Option<CachedObject>,
}

impl ObjectChange {
    /// Whether it is a change of this resource.
    pub fn is_of(&self, group: &str, plural: &str) -> bool {
        self.resource.parts() == (group, plural)
    }

    /// The header after the change.
    pub fn header(&self) -> &Header {
        self.object.header()
    }

    /// The header after the change, and the one before it if it is another.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        let previous =
            self.previous.as_ref().filter(|p| !Arc::ptr_eq(&p.object.header, &self.object.object.header));
        std::iter::once(self.header()).chain(previous.map(CachedObject::header))
    }

    /// The name of the object.
    pub fn name(&self) -> ObjectName {
        ObjectName::of(self.resource.clone(), self.header())
    }

    /// Whether the object was deleted.
    pub fn is_deletion(&self) -> bool {
        self.kind == ChangeKind::Deleted
    }
}

/// An object that is put into the cache.
pub struct NewObject {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// Its resourceVersion.
    pub revision: u64,
    /// Its typed view, from [`Decoder::decode`] or shared with others who have decoded it.
    pub view: Option<AnyView>,
}

/// A kind in a group and version.
#[derive(Clone)]
struct ServedKind {
    group: String,
    version: String,
    /// The resource that stores its objects.
    resource: GroupResource,
    namespaced: bool,
    /// Whether it has the subresource `scale`.
    scales: bool,
}

/// The cache. A clone is a snapshot, and costs some reference counts.
#[derive(Clone, Default)]
pub struct ControllerCache {
    objects: Map<GroupResource, Map<Key, CachedObject>>,
    /// The kinds that owner references can name, by kind.
    kinds: Arc<BTreeMap<String, Vec<ServedKind>>>,
    indexing: Arc<BTreeMap<GroupResource, Indexing>>,
    indices: Indices,
    removed_failures: RemovedFailures,
    ended_pods: EndedPods,
    /// When the controllers of this process started.
    started_at: Seconds,
}

impl ControllerCache {
    /// Sets when the controllers of this process started.
    pub fn started_at(self, started_at: Seconds) -> ControllerCache {
        ControllerCache { started_at, ..self }
    }

    /// An empty cache with the indices that these inputs need.
    pub fn new<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> ControllerCache {
        let mut all: BTreeMap<GroupResource, Indexing> = BTreeMap::new();
        for input in inputs {
            match &input.0 {
                Kind::Every => {}
                Kind::Headers { resource, indexed_by_labels } => {
                    all.entry(resource.clone()).or_default().by_labels |= indexed_by_labels;
                }
                Kind::Views { resource, view } => {
                    let indexing = all.entry(resource.clone()).or_default();
                    indexing.by_labels |= view.indexed_by_labels;
                    let same = indexing.view.is_none_or(|other| other.same(view));
                    assert!(same, "invariant: {resource} has one view type");
                    indexing.view = Some(*view);
                }
            }
        }
        ControllerCache { indexing: Arc::new(all), ..ControllerCache::default() }
    }

    /// Declares that the objects of a resource are cached, and names their kind.
    pub fn add_resource(&mut self, resource: &Resource) {
        let stored = GroupResource::new(&resource.storage_group, &resource.plural);
        if !self.objects.contains_key(&stored) {
            self.objects.insert_mut(stored.clone(), Map::default());
        }
        let kinds = Arc::make_mut(&mut self.kinds).entry(resource.kind.clone()).or_default();
        kinds.retain(|kind| (&kind.group, &kind.version) != (&resource.group, &resource.version));
        kinds.push(ServedKind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: stored,
            namespaced: resource.namespaced,
            scales: resource.subresources.iter().any(|subresource| subresource.name == "scale"),
        });
    }

    /// Declares that a resource is no longer served. Its objects have been removed before.
    pub fn remove_resource(&mut self, name: &GroupResource) {
        self.objects.remove_mut(name);
        let kinds = Arc::make_mut(&mut self.kinds).values_mut();
        kinds.for_each(|kinds| kinds.retain(|kind| kind.resource != *name));
    }

    /// The decoder of the typed views, for use without the cache.
    pub fn decoder(&self) -> Decoder {
        let views = self.indexing.iter().filter_map(|(name, indexing)| Some((name.clone(), indexing.view?)));
        Decoder::new(views.collect())
    }

    /// Stores a new version of an object.
    pub fn put(&mut self, resource: &GroupResource, new: NewObject, now: Seconds) -> ObjectChange {
        let NewObject { object, revision, view } = new;
        let object = CachedObject { object, revision, view };
        let key = Key::of(object.header());
        if !self.objects.contains_key(resource) {
            self.objects.insert_mut(resource.clone(), Map::default());
        }
        let objects = self.objects.get_mut(resource).expect("invariant: inserted above");
        let previous = objects.get(&key).cloned();
        objects.insert_mut(key, object.clone());
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.index(resource, previous.as_ref(), Some(&object), now);
        ObjectChange { resource: resource.clone(), kind, revision, object, previous }
    }

    /// Removes an object, deleted at `revision`.
    pub fn remove(
        &mut self,
        resource: &GroupResource,
        key: &Key,
        revision: u64,
        now: Seconds,
    ) -> Option<ObjectChange> {
        let object = self.objects.get(resource)?.get(key)?.clone();
        self.objects.get_mut(resource)?.remove_mut(key);
        self.index(resource, Some(&object), None, now);
        let previous = Some(object.clone());
        Some(ObjectChange {
            resource: resource.clone(),
            kind: ChangeKind::Deleted,
            revision,
            object,
            previous,
        })
    }

    fn index(
        &mut self,
        resource: &GroupResource,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
        now: Seconds,
    ) {
        let indexing = self.indexing.get(resource).copied().unwrap_or_default();
        self.indices.update(resource, indexing, before, after);
        if resource.parts() == ("", "pods") {
            self.removed_failures.update(before, after, now);
            self.ended_pods.update(before, after);
        }
        if resource.parts() == ("", "nodes") {
            let header = after.or(before).map(CachedObject::header);
            let name = header.map_or("", |header| &header.name);
            self.indices.note_node(name, after.is_some(), now);
        }
        let bound = after.and_then(|object| indexing.view?.node(object.view.as_ref()?));
        if let Some(node) = bound {
            let exists = self.object(&served("", "nodes"), &Key::new("", node)).is_some();
            self.indices.note_node(node, exists, now);
        }
    }

    /// Every object of a resource.
    pub fn objects<'a>(
        &'a self,
        resource: &GroupResource,
    ) -> impl Iterator<Item = (&'a Key, &'a CachedObject)> + use<'a> {
        self.objects.get(resource).into_iter().flatten()
    }

    fn object(&self, resource: &GroupResource, key: &Key) -> Option<&CachedObject> {
        self.objects.get(resource)?.get(key)
    }

    /// Objects of a resource in a namespace, from the name `from` on.
    fn range<'a, 'n>(
        &'a self,
        resource: &GroupResource,
        namespace: &'n str,
        from: &str,
    ) -> impl Iterator<Item = (&'a Key, &'a CachedObject)> + use<'a, 'n> {
        let objects = self.objects.get(resource).map(|objects| objects.range(Key::new(namespace, from)..));
        objects.into_iter().flatten().take_while(move |(key, _)| *key.namespace == *namespace)
    }

    /// The resource of a kind, and whether it is namespaced.
    fn kind(&self, group: &str, version: &str, kind: &str) -> Option<(&GroupResource, bool)> {
        let mut kinds = self.kinds.get(kind)?.iter();
        let found = kinds.find(|kind| kind.group == group && kind.version == version)?;
        Some((&found.resource, found.namespaced))
    }

    /// Whether a resource has the subresource `scale`.
    fn scales(&self, resource: &GroupResource) -> bool {
        self.kinds.values().flatten().any(|kind| kind.scales && kind.resource == *resource)
    }

    fn is_indexed_by_labels(&self, resource: &GroupResource) -> bool {
        self.indexing.get(resource).is_some_and(|indexing| indexing.by_labels)
    }

    /// Every object, as if it had just been added.
    #[cfg(test)]
    pub fn all_as_added(&self) -> impl Iterator<Item = ObjectChange> {
        self.objects.iter().flat_map(|(resource, objects)| {
            objects.values().map(move |object| ObjectChange {
                resource: resource.clone(),
                kind: ChangeKind::Added,
                revision: object.revision,
                object: object.clone(),
                previous: None,
            })
        })
    }

    /// The number of cached objects.
    pub fn len(&self) -> usize {
        self.objects.values().map(Map::size).sum()
    }

    /// Whether no object is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
