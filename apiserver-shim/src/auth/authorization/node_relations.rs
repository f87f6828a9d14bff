//! What is related to a node: its Pods, and the objects that they refer to. The Pods of each node are known by name from
//! the watch cache; they are decoded only if their bytes contain the name that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use memchr::memmem;
use serde_json::Value;
use shim_core::authorization::node::Relation;
use shim_core::authorization::references::References;
use shim_core::controllers::served;
use shim_model::access;
use shim_model::resource::GroupResource;

use crate::storage::object::Object;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{ChangeKind, WatchFrom, Watcher};

/// Changes applied between two looks at the cache.
const BATCH_MAX: usize = 1024;

/// Whether an object is related to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Related {
    /// It is.
    Yes,
    /// It is not, but a Pod that is not bound yet refers to it.
    OnceBound,
    /// It is not.
    No,
}

/// Finds relations between nodes and objects.
pub struct NodeRelations {
    registry: Registry,
    pods: Mutex<PodsOfNodes>,
}

/// Namespace and name of a Pod.
type PodKey = (Box<str>, Box<str>);

/// The names of all Pods by the name of their node, which is empty for those that are not bound.
#[derive(Default)]
struct PodsOfNodes {
    watcher: Option<Watcher>,
    node_of: BTreeMap<PodKey, Box<str>>,
    by_node: BTreeMap<Box<str>, BTreeSet<PodKey>>,
}

impl NodeRelations {
    /// Nothing is read before the first question.
    pub fn new(registry: Registry) -> NodeRelations {
        NodeRelations { registry, pods: Mutex::default() }
    }

    /// Whether the object of this name has the relation to a node.
    pub fn find(&self, node: &str, relation: Relation, namespace: &str, name: &str) -> Related {
        match relation {
            Relation::Pod => self.pod(node, namespace, name),
            Relation::VolumeAttachment => self.names_node(
                &served("storage.k8s.io", "volumeattachments"),
                name,
                node,
                &["spec", "nodeName"],
            ),
            Relation::ResourceSlice => self.names_node(
                &served("resource.k8s.io", "resourceslices"),
                name,
                node,
                &["spec", "nodeName"],
            ),
            Relation::PersistentVolume => self.volume(node, name),
            _ => self.referred(node, relation, namespace, name),
        }
    }

    fn pod(&self, node: &str, namespace: &str, name: &str) -> Related {
        let pod = self.registry.peek(served("", "pods"), namespace, name);
        match pod.as_deref().map(|pod| pod.field("spec.nodeName").unwrap_or("")) {
            Some("") => Related::OnceBound,
            Some(own) if own == node => Related::Yes,
            _ => Related::No,
        }
    }

    /// Whether a member of a cluster-scoped object is the node's name.
    fn names_node(&self, resource: &GroupResource, name: &str, node: &str, path: &[&str]) -> Related {
        let found =
            self.registry.catalog().named(resource).and_then(|row| row.store()?.cache().get("", name));
        match found.is_some_and(|object| access::text(&object.value(), path) == node) {
            true => Related::Yes,
            false => Related::No,
        }
    }

    /// A volume is related through its claim.
    fn volume(&self, node: &str, name: &str) -> Related {
        let catalog = self.registry.catalog();
        let volumes = catalog.named(&served("", "persistentvolumes")).and_then(|row| row.store());
        let Some(volume) = volumes.and_then(|volumes| volumes.cache().get("", name)) else {
            return Related::No;
        };
        let volume = volume.value();
        let claim = |member: &str| access::text(&volume, &["spec", "claimRef", member]);
        match (claim("namespace"), claim("name")) {
            (_, "") => Related::No,
            (namespace, claim) => self.referred(node, Relation::PersistentVolumeClaim, namespace, claim),
        }
    }

    /// Whether a Pod of the node refers to the object.
    fn referred(&self, node: &str, relation: Relation, namespace: &str, name: &str) -> Related {
        let mut pods = self.pods.lock().expect("invariant: no holder of the lock panics");
        pods.follow(&self.registry);
        let refers = |key: &PodKey| {
            let pod = self.registry.peek(served("", "pods"), &key.0, &key.1);
            pod.is_some_and(|pod| refers_to(&pod, relation, name))
        };
        if pods.of(node, namespace).any(refers) {
            return Related::Yes;
        }
        match pods.of("", namespace).any(refers) {
            true => Related::OnceBound,
            false => Related::No,
        }
    }
}

fn refers_to(pod: &Object, relation: Relation, name: &str) -> bool {
    // The name of an ephemeral volume's claim consists of the names of the Pod and of the volume.
    let is_possible = match relation {
        Relation::PersistentVolumeClaim => true,
        _ => memmem::find(pod.bytes(), name.as_bytes()).is_some(),
    };
    is_possible && pod.decode::<Value>().is_ok_and(|pod| References::of(&pod).has(relation, name))
}

impl PodsOfNodes {
    /// The Pods of a node in a namespace.
    fn of(&self, node: &str, namespace: &str) -> impl Iterator<Item = &PodKey> {
        let pods = self.by_node.get(node);
        let from: PodKey = (namespace.into(), "".into());
        let namespace = from.0.clone();
        pods.into_iter()
            .flat_map(move |pods| pods.range(from.clone()..))
            .take_while(move |key| key.0 == namespace)
    }

    /// Applies all pending changes. If changes were missed, everything is read again.
    fn follow(&mut self, registry: &Registry) {
        if self.watcher.is_some() && self.apply_pending() {
            return;
        }
        let watcher = registry.watch(served("", "pods"), WatchFrom::Start, Selection::everything()).ok();
        *self = PodsOfNodes { watcher, ..PodsOfNodes::default() };
        self.apply_pending();
    }

    /// Returns whether no change was missed.
    fn apply_pending(&mut self) -> bool {
        let Some(mut watcher) = self.watcher.take() else { return false };
        loop {
            let Ok(batch) = watcher.poll(BATCH_MAX) else { return false };
            if batch.deliveries.is_empty() && !batch.cut {
                break;
            }
            for delivery in &batch.deliveries {
                self.apply(delivery.kind, &delivery.object);
            }
        }
        self.watcher = Some(watcher);
        true
    }

    fn apply(&mut self, kind: ChangeKind, pod: &Object) {
        let key: PodKey = (pod.namespace().into(), pod.name().into());
        let node = pod.field("spec.nodeName").unwrap_or("");
        let known = self.node_of.get(&key).map(|known| &**known);
        if kind != ChangeKind::Deleted && known == Some(node) {
            return;
        }
        if let Some(known) = self.node_of.remove(&key)
            && let Some(pods) = self.by_node.get_mut(&known)
        {
            pods.remove(&key);
            if pods.is_empty() {
                self.by_node.remove(&known);
            }
        }
        if kind != ChangeKind::Deleted {
            self.by_node.entry(node.into()).or_default().insert(key.clone());
            self.node_of.insert(key, node.into());
        }
    }
}
