//! The scheduler's aggregated information about one node: the Node, its Pods and their requests, and its agent's
//! resources.

use std::borrow::Cow;
use std::sync::Arc;

use kernel_model::resources::Ranges;
use shim_model::quantity::Quantity;

use crate::kernel_resources::is_declarable;
use crate::rows::{DisruptionBudget, Node, Pod};

use super::{Amounts, HostPort};

/// A Node with its Pods.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    /// The agent's resources for tasks of any framework, and the declared ones.
    pub allocatable: Amounts,
    /// Extended resources that only the Node's status has, because a client has written them there. The kernel does not know them:
    /// they are counted here alone.
    declared: Amounts,
    /// The maximum number of Pods.
    pub pods_max: usize,
    /// The sum of its Pods' requests.
    pub requested: Amounts,
    /// Host ports of its Pods.
    pub used_ports: Vec<HostPort>,
    /// The agent's ports.
    pub ports: AgentPorts,
    /// Resources that tasks of other frameworks hold.
    pub held: Held,
    /// Missing packages without which the node cannot run containers.
    pub lacking: Option<Box<str>>,
    pods: Vec<Arc<Pod>>,
    /// Increases with each change; see `NodeInfos`.
    pub(crate) generation: usize,
}

/// Resources that other frameworks hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Held {
    pub amounts: Amounts,
    /// The frameworks' names, sorted.
    pub by: Vec<Box<str>>,
}

/// The resource `ports` of a node's agent. Host ports of Pods outside of it are nobody's resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AgentPorts {
    pub all: Ranges,
    /// Ports that tasks of other frameworks hold.
    pub held: Ranges,
}

impl AgentPorts {
    /// The host ports that are part of the resource.
    pub fn of(&self, host_ports: &[HostPort]) -> Ranges {
        if host_ports.is_empty() {
            return Ranges::default();
        }
        let wanted = Ranges::new(host_ports.iter().map(|port| (port.port.into(), port.port.into())));
        wanted.intersection(&self.all)
    }

    /// Whether tasks of other frameworks hold one of the ports.
    pub fn are_held(&self, host_ports: &[HostPort]) -> bool {
        !self.of(host_ports).intersection(&self.held).is_empty()
    }
}

/// The kernel's information about a node's agent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NodeCapacity {
    /// The agent's resources for tasks of any framework.
    pub allocatable: Amounts,
    /// The agent's ports.
    pub ports: AgentPorts,
    /// Resources that tasks of other frameworks hold.
    pub held: Held,
    /// Missing packages without which the node cannot run containers.
    pub lacking: Option<Box<str>>,
}

impl NodeInfo {
    /// Creates a node without Pods.
    pub fn new(node: Arc<Node>, pods_max: usize) -> NodeInfo {
        NodeInfo {
            node,
            allocatable: Amounts::default(),
            declared: Amounts::default(),
            pods_max,
            requested: Amounts::default(),
            used_ports: Vec::new(),
            ports: AgentPorts::default(),
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

    /// The Pods that are bound to the node or being launched on it. Their metadata and specs are current; their
    /// statuses are not.
    pub fn pods(&self) -> &[Arc<Pod>] {
        &self.pods
    }

    /// Changes whenever information about the node changes.
    pub fn generation(&self) -> usize {
        self.generation
    }

    /// Adds a Pod.
    pub fn add_pod(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.charge());
        self.used_ports.extend(pod.shape.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Removes a Pod and returns it as it was added.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|pod| pod.uid() == uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.charge());
        for port in &pod.shape.host_ports {
            if let Some(at) = self.used_ports.iter().position(|used| used == port) {
                self.used_ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// The resources that neither its Pods nor other frameworks use.
    pub fn left(&self) -> Amounts {
        let mut left = self.allocatable.clone();
        left.subtract(&self.requested);
        left.subtract(&self.held.amounts);
        left
    }

    /// What of a Pod's charge the kernel must offer: all but the resources that the Node declares.
    pub fn charge_of_kernel<'c>(&self, charge: &'c Amounts) -> Cow<'c, Amounts> {
        if !charge.others.iter().any(|(name, _)| self.declares(name)) {
            return Cow::Borrowed(charge);
        }
        let mut rest = charge.clone();
        rest.others.retain(|(name, _)| !self.declares(name));
        Cow::Owned(rest)
    }

    /// Whether the Node declares an extended resource.
    pub fn declares(&self, name: &str) -> bool {
        self.declared.others.iter().any(|(declared, _)| **declared == *name)
    }

    pub(crate) fn set_capacity(&mut self, capacity: NodeCapacity) {
        self.allocatable = capacity.allocatable;
        let agents = &self.allocatable.others;
        let listed = self.node.allocatable.iter();
        let declared = listed
            .filter(|(name, _)| is_declarable(name) && !agents.iter().any(|(of_agent, _)| of_agent == *name));
        self.declared = Amounts::default();
        for (name, amount) in declared {
            let units = amount.parse::<Quantity>().map_or(0, |quantity| quantity.units());
            *self.declared.other_mut(name) = units;
        }
        self.allocatable.add(&self.declared);
        self.ports = capacity.ports;
        self.held = capacity.held;
        self.lacking = capacity.lacking;
    }
}

/// Information about a node beyond its `NodeInfo`. Read when an equivalence class evaluates a node; the caller must
/// report changes with [`super::NodeInfos::touch`].
pub trait SharedLister {
    /// The unused part of the kernel's offers of a node to a role, if there are any; without the executor's share if
    /// it must be started first.
    fn free(&self, node: &NodeInfo, role: &str) -> Option<&Amounts>;

    /// Whether the kernel's offers of a node to a role have these ports.
    fn has_ports(&self, _node: &NodeInfo, _role: &str, _ports: &Ranges) -> bool {
        true
    }

    /// The number of a controller's Pods on a node.
    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32;

    /// The Pod with its present status, which those of a node do not have.
    fn current<'a>(&'a self, pod: &'a Pod) -> &'a Pod {
        pod
    }

    /// The PodDisruptionBudgets of a namespace.
    fn budgets(&self, _namespace: &str) -> Vec<&DisruptionBudget> {
        Vec::new()
    }
}
