//! What a controller sees: a read-only snapshot of the cached objects, looked up through the indices.

use std::{cell::Cell, sync::Arc};

use serde_json::Value;
use shim_model::{
    object::{Header, Owner},
    resource::{self, GroupResource},
};

use super::{CachedObject, ControllerCache, Dependent, ObjectName};
use crate::{
    controllers::served,
    rows::{Key, LabelSelector, ObjectView, Pod, Seconds},
};

/// Why the last plan for a key was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the refused write was a creation.
    pub creating: bool,
    /// The HTTP status code.
    pub code: u16,
    /// The message of the `Status`.
    pub message: String,
}

/// A snapshot. It borrows the cache, so it cannot outlive one call or change during it.
pub struct View<'a> {
    cache: &'a ControllerCache,
    /// The time.
    pub now: Seconds,
    /// Why the last plan for the key was refused, if it was.
    pub refusal: Option<&'a Refusal>,
    /// The revision up to which the cache is complete. Objects may be newer.
    pub complete_to: u64,
    visited: Cell<usize>,
}

impl<'a> View<'a> {
    /// The present state.
    pub fn new(cache: &'a ControllerCache, now: Seconds, refusal: Option<&'a Refusal>) -> View<'a> {
        View { cache, now, refusal, complete_to: u64::MAX, visited: Cell::new(0) }
    }

    /// The same view of a cache that is complete up to a revision.
    #[must_use]
    pub fn complete_to(self, revision: u64) -> View<'a> {
        View { complete_to: revision, ..self }
    }

    /// Whether objects of a resource are cached.
    pub fn serves(&self, resource: &GroupResource) -> bool {
        self.cache.objects.contains_key(resource)
    }

    /// When the controllers of this process started: what happened before, nobody has observed.
    pub fn started_at(&self) -> Seconds {
        self.cache.started_at
    }

    /// How many objects have been read through this view: the work of a call, counted.
    pub fn visited(&self) -> usize {
        self.visited.get()
    }

    fn visit<T>(&self, found: T) -> T {
        self.visited.set(self.visited.get() + 1);
        found
    }

    /// Whether a resource has the subresource `scale`.
    pub fn scales(&self, resource: &GroupResource) -> bool {
        self.cache.scales(resource)
    }

    /// The resource of a kind, and whether it is namespaced.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<(&'a GroupResource, bool)> {
        self.cache.kind(group, version, kind)
    }

    /// An object of any resource.
    pub fn object(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<&'a CachedObject> {
        self.visit(self.cache.object(resource, &Key::new(namespace, name)))
    }

    /// An object by its name.
    pub fn named(&self, name: &ObjectName) -> Option<&'a CachedObject> {
        self.visit(self.cache.object(&name.resource, &name.key))
    }

    /// The typed view of an object.
    pub fn get<V: ObjectView>(&self, key: &Key) -> Option<&'a V> {
        self.visit(self.cache.object(&served(V::GROUP, V::PLURAL), key)?.view())
    }

    /// The typed views of a resource whose objects the owner with this UID controls.
    pub fn controlled<'v, V: ObjectView>(&'v self, owner_uid: &'v str) -> impl Iterator<Item = &'a V> + 'v {
        let resource = served(V::GROUP, V::PLURAL);
        let dependents = self.cache.indices.dependents_of(owner_uid, resource);
        dependents
            .filter(|(_, dependent)| dependent.controlled)
            .filter_map(move |(name, _)| self.get(&name.key))
    }

    /// Every object that names this UID as an owner.
    pub fn dependents<'v>(
        &'v self,
        owner_uid: &'v str,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Dependent)> + 'v {
        let cache: &'a ControllerCache = self.cache;
        cache.indices.dependents(owner_uid).inspect(move |_| self.visit(()))
    }

    /// Objects of a namespace whose labels a selector matches. The resource has to be indexed by labels. A selector that
    /// requires no value (`NotIn`, `Exists`, `DoesNotExist` alone, or empty) reads the whole namespace.
    pub fn matching_objects<'v>(
        &'v self,
        resource: &GroupResource,
        namespace: &'v str,
        selector: &'v LabelSelector,
    ) -> Vec<&'a CachedObject> {
        let cache: &'a ControllerCache = self.cache;
        assert!(cache.is_indexed_by_labels(resource), "invariant: {resource} is an input indexed by labels");
        if selector.matches_nothing() {
            return Vec::new();
        }
        let index = cache.indices.labels(resource, namespace);
        let Some(index) = index.filter(|_| selector.required_values().next().is_some()) else {
            // Without any labelled object a required value is met by none.
            return match selector.required_values().next() {
                Some(_) => Vec::new(),
                None => self
                    .in_namespace(resource, namespace)
                    .filter(|o| selector.matches(&o.header().labels))
                    .collect(),
            };
        };
        let candidates = index.candidates(selector).into_iter().flatten();
        candidates
            .filter_map(|name| self.object(resource, namespace, name))
            .filter(|object| selector.matches(&object.header().labels))
            .collect()
    }

    /// The typed views of [`View::matching_objects`].
    pub fn matching<V: ObjectView>(&self, namespace: &str, selector: &LabelSelector) -> Vec<&'a V> {
        let objects = self.matching_objects(&served(V::GROUP, V::PLURAL), namespace, selector);
        objects.into_iter().filter_map(CachedObject::view).collect()
    }

    /// The typed views in a namespace whose selector matches these labels.
    pub fn selecting<V: ObjectView>(
        &self,
        namespace: &str,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> Vec<&'a V> {
        let Some(index) = self.cache.indices.selectors(&served(V::GROUP, V::PLURAL), namespace) else {
            return Vec::new();
        };
        index
            .candidates(labels)
            .filter_map(|name| self.get::<V>(&Key::new(namespace, name)))
            .filter(|view| view.selector().is_some_and(|selector| selector.matches(labels)))
            .collect()
    }

    /// The typed views of a resource whose objects are bound to a node.
    pub fn on_node<'v, V: ObjectView>(&'v self, node: &'v str) -> impl Iterator<Item = &'a V> + 'v {
        let resource = served(V::GROUP, V::PLURAL);
        let names = self.cache.indices.on_node(node).filter(move |name| name.resource == resource);
        names.filter_map(move |name| self.get(&name.key))
    }

    /// Since when objects are bound to a node that does not exist.
    pub fn node_missing_since(&self, node: &str) -> Option<Seconds> {
        self.cache.indices.missing_since(node)
    }

    /// How many failed Pods of a revision of this DaemonSet have been removed from a node, and when the last one was.
    pub fn failed_pods(&self, owner_uid: &str, node: &str, hash: &str) -> Option<(u32, Seconds)> {
        self.cache.removed_failures.get(owner_uid, node, hash, self.now)
    }

    /// The Pods that have ended beyond the last `most` of them, those that are deleted first before.
    pub fn ended_pods_beyond(&self, most: usize) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.cache.ended_pods.beyond(most)
    }

    /// Whether a Pod is one of [`View::ended_pods_beyond`].
    pub fn is_ended_pod_beyond(&self, pod: &Pod, most: usize) -> bool {
        self.cache.ended_pods.is_beyond(pod, most)
    }

    /// The typed views of a resource in all namespaces, by name. For resources of which there are few, or that a controller
    /// must read all of, as DaemonSets and Nodes.
    pub fn all<'v, V: ObjectView>(&'v self) -> impl Iterator<Item = &'a V> + use<'a, 'v, V> {
        let cache: &'a ControllerCache = self.cache;
        let objects = cache.objects(&served(V::GROUP, V::PLURAL));
        objects.filter_map(move |(_, object)| self.visit(object).view())
    }

    /// How many objects of each resource a namespace contains.
    pub fn counts<'v>(&'v self, namespace: &'v str) -> impl Iterator<Item = (&'a GroupResource, usize)> + 'v {
        let cache: &'a ControllerCache = self.cache;
        cache.indices.counts(namespace)
    }

    /// Every object of a resource in a namespace, or every cluster-scoped one if it is empty, by name. For the deletion of
    /// namespaces and for resources with few objects; nothing else reads all of one.
    pub fn in_namespace<'v>(
        &'v self,
        resource: &GroupResource,
        namespace: &'v str,
    ) -> impl Iterator<Item = &'a CachedObject> + use<'a, 'v> {
        self.cache.range(resource, namespace, "").map(move |(_, object)| self.visit(object))
    }

    /// Every object of a resource in all namespaces. For what happens rarely.
    pub fn everywhere<'v>(
        &'v self,
        resource: &GroupResource,
    ) -> impl Iterator<Item = &'a CachedObject> + use<'a, 'v> {
        let cache: &'a ControllerCache = self.cache;
        cache.objects(resource).map(move |(_, object)| self.visit(object))
    }

    /// The typed views in a namespace whose names begin with `prefix`.
    pub fn with_name_prefix<'v, V: ObjectView>(
        &'v self,
        namespace: &'v str,
        prefix: &'v str,
    ) -> impl Iterator<Item = &'a V> + 'v {
        self.cache
            .range(&served(V::GROUP, V::PLURAL), namespace, prefix)
            .take_while(move |(key, _)| key.name.starts_with(prefix))
            .filter_map(move |(_, object)| self.visit(object).view())
    }

    /// The object that an owner reference names, found by its kind and name and checked by its UID.
    pub fn owner(&self, dependent: &Header, owner: &Owner) -> OwnerLookup<'a> {
        let (group, version) = resource::split_api_version(&owner.api_version);
        let Some((resource, namespaced)) = self.cache.kind(group, version, &owner.kind) else {
            return OwnerLookup::Unknown;
        };
        let namespace = match (namespaced, dependent.namespace.is_empty()) {
            // A cluster-scoped object cannot have a namespaced owner; upstream's collector leaves it alone.
            (true, true) => return OwnerLookup::Unknown,
            (true, false) => dependent.namespace.as_str(),
            (false, _) => "",
        };
        match self.object(resource, namespace, &owner.name) {
            Some(found) if found.header().uid == owner.uid => OwnerLookup::Found(resource, found),
            _ => OwnerLookup::Absent,
        }
    }
}

/// What an owner reference leads to.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub enum OwnerLookup<'a> {
    Found(&'a GroupResource, &'a CachedObject),
    /// No object of this name has the UID.
    Absent,
    /// The kind is not cached, or its scope does not fit: nothing can be said.
    Unknown,
}

impl CachedObject {
    /// The typed view, if the resource has one of this type and the object could be decoded.
    pub fn view<V: ObjectView>(&self) -> Option<&V> {
        self.view.as_ref()?.downcast_ref()
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Decodes the whole object.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.object.bytes)
            .expect("invariant: StoredObject::parse has checked the bytes")
    }

    /// The shared typed view.
    pub fn shared_view<V: ObjectView>(&self) -> Option<Arc<V>> {
        self.view.clone()?.downcast().ok()
    }
}
