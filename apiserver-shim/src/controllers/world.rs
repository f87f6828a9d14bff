//! What the controllers look at: rows and indices, fed by watchers of the caches. Everything else is read out of the caches
//! when it is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shim_core::rows::{Deployment, Key, LabelSelector, Node, Pod, ReplicaSet};
use shim_model::object::{Header, Owner};
use shim_model::resource::GroupResource;

use crate::storage::object::Object;
use crate::storage::pod_views::PodViews;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// The resource, in the order of names.
    pub resource: GroupResource,
    /// The key.
    pub key: Key,
}

/// A dependent of some owner.
#[derive(Clone, Debug)]
pub struct DependentRow {
    /// Its UID.
    pub uid: String,
    /// Whether the owner's foreground deletion waits for it.
    pub blocks: bool,
}

/// Rows and indices.
#[derive(Default)]
pub struct World {
    pub pod_views: PodViews,
    pub pods: BTreeMap<Key, Arc<Pod>>,
    /// Pods by the UID of their controller; those without one under their namespace.
    pods_by_controller: BTreeMap<Box<str>, BTreeSet<Key>>,
    pods_by_node: BTreeMap<Box<str>, BTreeSet<Key>>,
    pub sets: BTreeMap<Key, Arc<ReplicaSet>>,
    pub deployments: BTreeMap<Key, Arc<Deployment>>,
    pub nodes: BTreeMap<Box<str>, Arc<Node>>,
    /// Selectors of Services whose endpoints we keep.
    pub services: BTreeMap<Key, LabelSelector>,
    /// Every object that has owners, by the UID of each owner.
    dependents: BTreeMap<Box<str>, BTreeMap<ObjectName, DependentRow>>,
}

/// The index key of Pods without a controller: no UID looks like that.
fn orphans_of(namespace: &str) -> String {
    format!("namespace/{namespace}")
}

fn controller_key(header: &Header) -> String {
    header.controller().map_or_else(|| orphans_of(&header.namespace), |o| o.uid.clone())
}

fn decoded(object: &Object) -> Value {
    serde_json::from_slice(object.bytes()).unwrap_or_default()
}

fn forget<K: Ord>(index: &mut BTreeMap<Box<str>, BTreeSet<K>>, at: &str, key: &K) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

impl World {
    /// An empty world.
    pub fn new(pod_views: PodViews) -> World {
        World { pod_views, ..World::default() }
    }

    /// Takes an object that is new or has changed.
    pub fn put(&mut self, resource: &GroupResource, object: &Object, before: Option<&Object>) {
        let key = Key::of(object.header());
        if before.is_none_or(|b| b.header().owners != object.header().owners) {
            if let Some(before) = before {
                self.unlink(resource, before.header());
            }
            self.link(resource, object.header());
        }
        match resource.parts() {
            ("", "pods") => self.put_pod(key, object),
            ("apps", "replicasets") => {
                let row = ReplicaSet::decode(object.stored().clone(), &decoded(object));
                self.sets.insert(key, Arc::new(row));
            }
            ("apps", "deployments") => {
                let row = Deployment::decode(object.stored().clone(), &decoded(object));
                self.deployments.insert(key, Arc::new(row));
            }
            ("", "nodes") => {
                let row = Node::decode(object.stored().clone(), object.revision, &decoded(object));
                self.nodes.insert(object.name().into(), Arc::new(row));
            }
            ("", "services") => {
                match shim_core::controllers::endpoints::selector(&decoded(object)) {
                    Some(selector) => self.services.insert(key, selector),
                    None => self.services.remove(&key),
                };
            }
            _ => {}
        }
    }

    fn put_pod(&mut self, key: Key, object: &Object) {
        let row = self.pod_views.of(object);
        let old = self.pods.insert(key.clone(), row.clone());
        // Most changes are of the status.
        let moved = |old: &Pod| old.node != row.node || old.header().owners != row.header().owners;
        if old.as_deref().is_none_or(moved) {
            if let Some(old) = old {
                self.unindex(&key, &old);
            }
            self.index(key, &row);
        }
    }

    fn index(&mut self, key: Key, row: &Pod) {
        if let Some(node) = &row.node {
            self.pods_by_node.entry(node.clone()).or_default().insert(key.clone());
        }
        self.pods_by_controller.entry(controller_key(row.header()).into()).or_default().insert(key);
    }

    fn unindex(&mut self, key: &Key, row: &Pod) {
        forget(&mut self.pods_by_controller, &controller_key(row.header()), key);
        if let Some(node) = &row.node {
            forget(&mut self.pods_by_node, node, key);
        }
    }

    /// Takes notice that an object is gone.
    pub fn remove(&mut self, resource: &GroupResource, object: &Object) {
        let key = Key::of(object.header());
        self.unlink(resource, object.header());
        match resource.parts() {
            ("", "pods") => {
                if let Some(old) = self.pods.remove(&key) {
                    self.unindex(&key, &old);
                }
                self.pod_views.forget(&object.header().uid);
            }
            ("apps", "replicasets") => {
                self.sets.remove(&key);
            }
            ("apps", "deployments") => {
                self.deployments.remove(&key);
            }
            ("", "nodes") => {
                self.nodes.remove(object.name());
            }
            ("", "services") => {
                self.services.remove(&key);
            }
            _ => {}
        }
    }

    fn link(&mut self, resource: &GroupResource, header: &Header) {
        for owner in &header.owners {
            let name = ObjectName { resource: resource.clone(), key: Key::of(header) };
            let row = DependentRow { uid: header.uid.clone(), blocks: owner.block_owner_deletion };
            self.dependents.entry(owner.uid.as_str().into()).or_default().insert(name, row);
        }
    }

    fn unlink(&mut self, resource: &GroupResource, header: &Header) {
        for Owner { uid, .. } in &header.owners {
            if let Some(dependents) = self.dependents.get_mut(uid.as_str()) {
                dependents.remove(&ObjectName { resource: resource.clone(), key: Key::of(header) });
                if dependents.is_empty() {
                    self.dependents.remove(uid.as_str());
                }
            }
        }
    }

    /// What names this UID as its owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = (&ObjectName, &DependentRow)> {
        self.dependents.get(uid).into_iter().flatten()
    }

    fn pods_of_index<'a>(&'a self, at: &str) -> impl Iterator<Item = &'a Arc<Pod>> + use<'a> {
        self.pods_by_controller.get(at).into_iter().flatten().filter_map(|key| self.pods.get(key))
    }

    /// Pods that a controller has.
    pub fn pods_of(&self, controller_uid: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_of_index(controller_uid)
    }

    /// Pods of a namespace that have no controller.
    pub fn orphan_pods(&self, namespace: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_of_index(&orphans_of(namespace))
    }

    /// Pods bound to a node.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_by_node.get(node).into_iter().flatten().filter_map(|key| self.pods.get(key))
    }

    /// Entries of a table that are in a namespace.
    pub fn in_namespace<'a, T>(
        table: &'a BTreeMap<Key, T>,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Key, &'a T)> {
        let namespace = namespace.to_owned();
        table.range(Key::new(&namespace, "")..).take_while(move |(key, _)| *key.namespace == *namespace)
    }
}
