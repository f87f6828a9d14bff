//! One node as the scheduler keeps it: the Node, its Pods and what they use, and what the kernel says of its agent.

use std::sync::Arc;

use crate::rows::{Node, Pod};

use super::{Amounts, HostPort};

/// A Node with its Pods.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// The Node.
    pub node: Arc<Node>,
    /// What the agent has for tasks of any framework.
    pub allocatable: Amounts,
    /// How many Pods it may run.
    pub pods_max: usize,
    /// What its Pods request.
    pub requested: Amounts,
    /// Host ports of its Pods.
    pub used_ports: Vec<HostPort>,
    /// What tasks of other frameworks have of it.
    pub held: Held,
    /// Packages without which nothing there can run containers.
    pub lacking: Option<Box<str>>,
    pods: Vec<Arc<Pod>>,
    /// Grows with each change; see `NodeInfos`.
    pub(crate) generation: usize,
}

/// What other frameworks have of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// How much.
    pub amounts: Amounts,
    /// Their names, ascending.
    pub by: Vec<Box<str>>,
}

/// What the kernel says of a node's agent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NodeCapacity {
    /// All that the agent has for tasks of any framework.
    pub allocatable: Amounts,
    /// What other frameworks have of it.
    pub held: Held,
    /// Packages without which nothing there can run containers.
    pub lacking: Option<Box<str>>,
}

impl NodeInfo {
    /// A Node without Pods.
    pub fn new(node: Arc<Node>, pods_max: usize) -> NodeInfo {
        NodeInfo {
            node,
            allocatable: Amounts::default(),
            pods_max,
            requested: Amounts::default(),
            used_ports: Vec::new(),
            held: Held::default(),
            lacking: None,
            pods: Vec::new(),
            generation: 0,
        }
    }

    /// The Node's name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The Pods that are bound to it, or whose launch is under way. Their metadata and specs are current, their statuses
    /// are not.
    pub fn pods(&self) -> &[Arc<Pod>] {
        &self.pods
    }

    /// Changes with everything that is known of the node.
    pub fn generation(&self) -> usize {
        self.generation
    }

    /// A Pod was put here.
    pub fn add_pod(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.shape.charge());
        self.used_ports.extend(pod.shape.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Takes a Pod away, as it was when it was added.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|pod| pod.uid() == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.shape.charge());
        for port in &pod.shape.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// What is left for Pods beside its Pods and other frameworks.
    pub fn left(&self) -> Amounts {
        let mut left = self.allocatable.clone();
        left.subtract(&self.requested);
        left.subtract(&self.held.amounts);
        left
    }

    pub(crate) fn set_capacity(&mut self, capacity: NodeCapacity) {
        self.allocatable = capacity.allocatable;
        self.held = capacity.held;
        self.lacking = capacity.lacking;
    }
}

/// What is known of a node beside its books. Asked for where an equivalence class looks at a node: the caller says which
/// nodes have changed.
pub trait SharedLister {
    /// What is free of the kernel's offers of a node in a role, if there is one. The executor's own share is taken off
    /// where it has to be started first.
    fn free(&self, node: &NodeInfo, role: &str) -> Option<&Amounts>;

    /// How many Pods of a controller are on a node.
    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32;
}
