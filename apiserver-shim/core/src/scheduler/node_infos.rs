//! All nodes, updated incrementally. Each change gets a number (upstream's generation) and is logged, so that a cycle
//! evaluates only changed nodes. Pod counts per topology domain are kept here too, because they change with the same
//! Pods.

use std::{collections::BTreeMap, sync::Arc};

use indexmap::IndexMap;

use crate::rows::{Node, Pod};

use super::{DomainCounts, EventSet, NodeCapacity, NodeInfo, change_log::ChangeLog};

/// All nodes.
#[derive(Debug, Default)]
pub struct NodeInfos {
    /// The nodes, sorted by name.
    pub(super) all: Vec<NodeInfo>,
    pub(super) changes: ChangeLog,
    pub(super) domains: DomainCounts,
    /// Increases when node indices change, which invalidates everything cached by index.
    pub(super) numbering: u64,
    /// Indices by name. Hashed look-up; never iterated.
    index: IndexMap<Box<str>, usize>,
    /// Pods bound to nodes without a Node object.
    nodeless_pods: BTreeMap<Box<str>, Vec<Arc<Pod>>>,
    capacities: BTreeMap<Box<str>, NodeCapacity>,
    /// Pods for which Pods of a node were preempted, by UID.
    pub(super) nominations: BTreeMap<Box<str>, Nomination>,
}

/// The node where others were preempted for a pending Pod.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Nomination {
    pub node: Box<str>,
    pub pod: Arc<Pod>,
}

impl NodeInfos {
    /// All nodes, sorted by name.
    pub fn all(&self) -> &[NodeInfo] {
        &self.all
    }

    /// The index of a node.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// A node.
    pub fn get(&self, name: &str) -> Option<&NodeInfo> {
        self.index(name).map(|at| &self.all[at])
    }

    /// Adds or updates a Node. Returns the events that this may be for pending Pods.
    pub fn put_node(&mut self, node: Arc<Node>, pods_max: usize) -> EventSet {
        let Some(at) = self.index(node.name()) else {
            self.add_node(node, pods_max);
            return EventSet::NODE_ADD;
        };
        let before = std::mem::replace(&mut self.all[at].node, node);
        let now = &self.all[at].node;
        let mut kinds = EventSet::NONE;
        if before.header().labels != now.header().labels {
            kinds |= EventSet::NODE_LABELS;
            self.domains.node_changed(at, &self.all[at]);
        }
        if before.unschedulable != now.unschedulable || before.taints != now.taints {
            kinds |= EventSet::NODE_TAINTS;
        }
        if before.allocatable != now.allocatable {
            let (known, capacity) = (self.all[at].allocatable.clone(), self.capacities.get(before.name()));
            self.all[at].set_capacity(capacity.cloned().unwrap_or_default());
            if self.all[at].allocatable != known {
                kinds |= EventSet::NODE_ALLOCATABLE;
            }
        }
        self.changed(at);
        kinds
    }

    fn add_node(&mut self, node: Arc<Node>, pods_max: usize) {
        let name: Box<str> = node.name().into();
        let mut info = NodeInfo::new(node, pods_max);
        self.nodeless_pods.remove(&name).into_iter().flatten().for_each(|pod| info.add_pod(pod));
        info.set_capacity(self.capacities.get(&name).cloned().unwrap_or_default());
        let at = self.all.partition_point(|other| *other.name() < *name);
        self.all.insert(at, info);
        // At startup nodes arrive sorted by name, so that this loop is short.
        for later in &self.all[at..] {
            let position = self.index.entry(later.name().into()).or_default();
            *position = if *later.name() == *name { at } else { *position + 1 };
        }
        self.renumbered();
        self.changed(at);
    }

    /// Removes a Node; its Pods are kept.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.swap_remove(name) else { return };
        let info = self.all.remove(at);
        if !info.pods().is_empty() {
            self.nodeless_pods.insert(name.into(), info.pods().to_vec());
        }
        self.index.values_mut().filter(|i| **i > at).for_each(|i| *i -= 1);
        self.renumbered();
    }

    /// Nominates a Pod to a node: Pods of no higher priority do not take its place there.
    pub fn nominate(&mut self, pod: &Arc<Pod>, node: &str) {
        self.end_nomination(pod.uid());
        let nomination = Nomination { node: node.into(), pod: pod.clone() };
        self.nominations.insert(pod.uid().into(), nomination);
        self.touch(node);
    }

    /// Ends a nomination and returns the node.
    pub fn end_nomination(&mut self, uid: &str) -> Option<Box<str>> {
        let node = self.nominations.remove(uid)?.node;
        self.touch(&node);
        Some(node)
    }

    /// The node that a Pod is nominated to.
    pub fn nominated_node(&self, uid: &str) -> Option<&str> {
        self.nominations.get(uid).map(|nomination| &*nomination.node)
    }

    /// The Pods that are nominated to a node.
    pub fn nominated_to<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let all = self.nominations.values().filter(move |nomination| *nomination.node == *node);
        all.map(|nomination| &nomination.pod)
    }

    /// Updates the kernel's information about a node. Returns the events that this may be for pending Pods.
    pub fn put_capacity(&mut self, name: &str, capacity: NodeCapacity) -> EventSet {
        let mut kinds = EventSet::NONE;
        let before = self.capacities.insert(name.into(), capacity.clone()).unwrap_or_default();
        if before.allocatable != capacity.allocatable {
            kinds |= EventSet::NODE_ALLOCATABLE;
        }
        if before.held != capacity.held || before.ports != capacity.ports {
            kinds |= EventSet::NODE_HELD;
        }
        if before.lacking != capacity.lacking {
            kinds |= EventSet::NODE_RUNTIME;
        }
        self.set_capacity(name, capacity);
        kinds
    }

    /// Removes the information about a node's agent.
    pub fn remove_capacity(&mut self, name: &str) {
        self.capacities.remove(name);
        self.set_capacity(name, NodeCapacity::default());
    }

    fn set_capacity(&mut self, name: &str, capacity: NodeCapacity) {
        let Some(at) = self.index(name) else { return };
        self.all[at].set_capacity(capacity);
        self.changed(at);
    }

    /// Adds a Pod to a node.
    pub fn add_pod(&mut self, node: &str, pod: &Arc<Pod>) {
        match self.index(node) {
            Some(at) => {
                self.all[at].add_pod(pod.clone());
                self.domains.add_pod(at, pod);
                self.changed(at);
            }
            None => self.nodeless_pods.entry(node.into()).or_default().push(pod.clone()),
        }
    }

    /// Removes a Pod from a node.
    pub fn remove_pod(&mut self, node: &str, uid: &str) {
        if let Some(at) = self.index(node) {
            if let Some(pod) = self.all[at].remove_pod(uid) {
                self.domains.remove_pod(at, &pod);
            }
            self.changed(at);
        } else if let Some(pods) = self.nodeless_pods.get_mut(node) {
            pods.retain(|pod| pod.uid() != uid);
            if pods.is_empty() {
                self.nodeless_pods.remove(node);
            }
        }
    }

    /// Updates a Pod whose labels or requests changed. Returns the events that this may be for pending Pods. Other
    /// changes are irrelevant here.
    pub fn update_pod(&mut self, node: &str, before: &Pod, pod: &Arc<Pod>) -> EventSet {
        let mut kinds = EventSet::NONE;
        if before.header().labels != pod.header().labels {
            kinds |= EventSet::POD_LABELS;
        }
        let shape = !Arc::ptr_eq(&before.shape, &pod.shape) && before.shape != pod.shape;
        if shape || before.resized != pod.resized {
            kinds |= EventSet::POD_DELETE;
        }
        if !kinds.is_empty() {
            self.remove_pod(node, pod.uid());
            self.add_pod(node, pod);
        }
        kinds
    }

    /// Marks a node as changed because its offers, or other information of a `SharedLister`, changed.
    pub fn touch(&mut self, name: &str) {
        if let Some(at) = self.index(name) {
            self.changed(at);
        }
    }

    fn changed(&mut self, at: usize) {
        self.changes.note(at);
        self.all[at].generation = self.changes.end();
        self.changes.limit_to(2 * self.all.len());
    }

    fn renumbered(&mut self) {
        self.numbering += 1;
        self.domains.clear();
    }
}
