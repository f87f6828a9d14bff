//! The indices: kept once, changed with every object, used by all controllers. No query of a controller has to read all
//! objects of a namespace.

use shim_model::{object::Header, resource::GroupResource};

use super::{
    CachedObject, Map, ObjectName, Set,
    input::ViewType,
    labels::{LabelIndex, SelectorIndex},
};
use crate::rows::{Key, Seconds};

/// An object that names an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// The dependent's UID.
    pub uid: String,
    /// Whether the owner is its managing controller.
    pub controlled: bool,
    /// Whether the owner's foreground deletion waits for it.
    pub blocks: bool,
}

/// Something per resource and namespace.
type PerNamespace<T> = Map<GroupResource, Map<Box<str>, T>>;

/// How a resource is indexed, beside by owner and namespace.
#[derive(Clone, Copy, Default)]
pub(super) struct Indexing {
    pub by_labels: bool,
    pub view: Option<ViewType>,
}

/// All indices.
#[derive(Debug, Clone, Default)]
pub(super) struct Indices {
    owners: Map<Box<str>, Map<ObjectName, Dependent>>,
    labels: PerNamespace<LabelIndex>,
    selectors: PerNamespace<SelectorIndex>,
    nodes: Map<Box<str>, Set<ObjectName>>,
    counts: Map<Box<str>, Map<GroupResource, usize>>,
    /// When a node that objects are bound to was first found missing.
    missing_nodes: Map<Box<str>, Seconds>,
}

impl Indices {
    /// Follows one change: `before` and `after` are versions of the same object.
    pub fn update(
        &mut self,
        resource: &GroupResource,
        indexing: Indexing,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        self.count(resource, before, after);
        // A change of the status alone shares the header with the version before.
        let same_header = matches!((before, after), (Some(b), Some(a))
            if std::sync::Arc::ptr_eq(&b.object.header, &a.object.header));
        if !same_header {
            self.update_owners(resource, before, after);
            if indexing.by_labels {
                self.update_labels(resource, before, after);
            }
        }
        if let Some(view) = indexing.view {
            self.update_selector(resource, &view, before, after);
            self.update_node(resource, &view, before, after);
        }
    }

    fn count(
        &mut self,
        resource: &GroupResource,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        let (object, added) = match (before, after) {
            (None, Some(after)) => (after, true),
            (Some(before), None) => (before, false),
            _ => return,
        };
        let namespace = object.header().namespace.as_str();
        if namespace.is_empty() {
            return;
        }
        if added {
            *entry(child(&mut self.counts, namespace), resource) += 1;
        } else if let Some(counts) = self.counts.get_mut(namespace) {
            let count = entry(counts, resource);
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove_mut(resource);
            }
            if counts.is_empty() {
                self.counts.remove_mut(namespace);
            }
        }
    }

    fn update_owners(
        &mut self,
        resource: &GroupResource,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        let owners = |o: Option<&CachedObject>| o.is_some_and(|o| !o.header().owners.is_empty());
        if !owners(before) && !owners(after) {
            return;
        }
        if let (Some(before), Some(after)) = (before, after)
            && before.header().owners == after.header().owners
            && before.header().uid == after.header().uid
        {
            return;
        }
        if let Some(header) = before.map(CachedObject::header) {
            let name = ObjectName::of(resource.clone(), header);
            for owner in &header.owners {
                remove_child(&mut self.owners, &owner.uid, |dependents| {
                    dependents.remove_mut(&name);
                    dependents.is_empty()
                });
            }
        }
        if let Some(header) = after.map(CachedObject::header) {
            for owner in &header.owners {
                let dependent = Dependent {
                    uid: header.uid.clone(),
                    controlled: owner.controller,
                    blocks: owner.block_owner_deletion,
                };
                child(&mut self.owners, &owner.uid)
                    .insert_mut(ObjectName::of(resource.clone(), header), dependent);
            }
        }
    }

    fn update_labels(
        &mut self,
        resource: &GroupResource,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        if let (Some(before), Some(after)) = (before, after)
            && before.header().labels == after.header().labels
        {
            return;
        }
        let index = entry(&mut self.labels, resource);
        if let Some(Header { namespace, name, labels, .. }) = before.map(CachedObject::header) {
            remove_child(index, namespace, |index| {
                index.remove(labels, name);
                index.is_empty()
            });
        }
        if let Some(Header { namespace, name, labels, .. }) = after.map(CachedObject::header)
            && !labels.is_empty()
        {
            child(index, namespace).insert(labels, name);
        }
    }

    fn update_selector(
        &mut self,
        resource: &GroupResource,
        view: &ViewType,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        let selector = |o: Option<&'_ CachedObject>| o.and_then(|o| view.selector(o.view.as_ref()?).cloned());
        let (old, new) = (selector(before), selector(after));
        if old == new {
            return;
        }
        let index = entry(&mut self.selectors, resource);
        if let (Some(header), Some(selector)) = (before.map(CachedObject::header), old) {
            remove_child(index, &header.namespace, |index| {
                index.remove(&selector, &header.name);
                index.is_empty()
            });
        }
        if let (Some(header), Some(selector)) = (after.map(CachedObject::header), new) {
            child(index, &header.namespace).insert(&selector, &header.name);
        }
    }

    fn update_node(
        &mut self,
        resource: &GroupResource,
        view: &ViewType,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
    ) {
        let (old, new) = (node_of(view, before), node_of(view, after));
        if old == new {
            return;
        }
        if let (Some(header), Some(node)) = (before.map(CachedObject::header), old) {
            let name = ObjectName::of(resource.clone(), header);
            remove_child(&mut self.nodes, node, |names| {
                names.remove_mut(&name);
                names.is_empty()
            });
            if !self.nodes.contains_key(node) {
                self.missing_nodes.remove_mut(node);
            }
        }
        if let (Some(header), Some(node)) = (after.map(CachedObject::header), new) {
            child(&mut self.nodes, node).insert_mut(ObjectName::of(resource.clone(), header));
        }
    }

    /// Objects that name this UID as an owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = (&ObjectName, &Dependent)> {
        self.owners.get(uid).into_iter().flatten()
    }

    /// The same, of one resource.
    pub fn dependents_of(
        &self,
        uid: &str,
        resource: GroupResource,
    ) -> impl Iterator<Item = (&ObjectName, &Dependent)> {
        let from = ObjectName { resource: resource.clone(), key: Key::new("", "") };
        let all = self.owners.get(uid).map(|dependents| dependents.range(from..));
        all.into_iter().flatten().take_while(move |(name, _)| name.resource == resource)
    }

    pub fn labels(&self, resource: &GroupResource, namespace: &str) -> Option<&LabelIndex> {
        self.labels.get(resource)?.get(namespace)
    }

    pub fn selectors(&self, resource: &GroupResource, namespace: &str) -> Option<&SelectorIndex> {
        self.selectors.get(resource)?.get(namespace)
    }

    /// Objects bound to a node.
    pub fn on_node(&self, node: &str) -> impl Iterator<Item = &ObjectName> {
        self.nodes.get(node).into_iter().flatten()
    }

    /// How many objects of each resource a namespace contains; resources without an object are absent.
    pub fn counts(&self, namespace: &str) -> impl Iterator<Item = (&GroupResource, usize)> {
        self.counts.get(namespace).into_iter().flatten().map(|(resource, count)| (resource, *count))
    }

    /// Since when objects are bound to a node that does not exist.
    pub fn missing_since(&self, node: &str) -> Option<Seconds> {
        self.missing_nodes.get(node).copied()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let labels = self.labels.values().all(Map::is_empty);
        let selectors = self.selectors.values().all(Map::is_empty);
        let nodes = self.nodes.is_empty() && self.missing_nodes.is_empty();
        self.owners.is_empty() && labels && selectors && nodes && self.counts.is_empty()
    }

    /// Notes whether a node exists that objects are bound to.
    pub fn note_node(&mut self, node: &str, exists: bool, now: Seconds) {
        if exists {
            self.missing_nodes.remove_mut(node);
        } else if self.nodes.contains_key(node) && !self.missing_nodes.contains_key(node) {
            self.missing_nodes.insert_mut(node.into(), now);
        }
    }
}

fn node_of<'a>(view: &ViewType, object: Option<&'a CachedObject>) -> Option<&'a str> {
    view.node(object?.view.as_ref()?)
}

/// The value of a resource, made if it is missing.
fn entry<'a, T: Default + Clone>(map: &'a mut Map<GroupResource, T>, resource: &GroupResource) -> &'a mut T {
    if !map.contains_key(resource) {
        map.insert_mut(resource.clone(), T::default());
    }
    map.get_mut(resource).expect("invariant: inserted above")
}

/// The value at a key, made if it is missing.
fn child<'a, T: Default + Clone>(map: &'a mut Map<Box<str>, T>, key: &str) -> &'a mut T {
    if !map.contains_key(key) {
        map.insert_mut(key.into(), T::default());
    }
    map.get_mut(key).expect("invariant: inserted above")
}

/// Changes the value at a key and removes it if `change` says that it is empty.
fn remove_child<T: Clone>(map: &mut Map<Box<str>, T>, key: &str, change: impl FnOnce(&mut T) -> bool) {
    if map.get_mut(key).is_some_and(change) {
        map.remove_mut(key);
    }
}
